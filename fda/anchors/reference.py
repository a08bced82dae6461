"""The paper's loops, written plainly: the baselines for the speed and the numbers of construction and adaptation.

The library's own block code, eager float32, torch's optimisers tensor by tensor, and the loss read back at every step. Shares
no code with the rest of `fda.anchors`, so that speeding up construction or adaptation does not speed up the baseline.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cosine_similarity

from fda.architectures.blocks import Block
from fda.settings import AdaptSettings

LEARNING_RATE, WEIGHT_DECAY = 1e-2, 1e-2


def reference_loop(
    block: Block,
    base: Mapping[str, Tensor],
    finetuned: Mapping[str, Tensor],
    live: tuple[str, ...],
    initial: Tensor,
    steps: int,
) -> Iterator[float]:
    """The angle loss (mean over `live` of 1 − cos) before each step of AdamW, from the anchors `initial` (n, tokens, d)."""
    theta0 = {name: tensor.clone().requires_grad_() for name, tensor in base.items()}
    x = initial.clone().requires_grad_()
    optimizer = torch.optim.AdamW([x], lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for _ in range(steps):
        with sdpa_kernel(SDPBackend.MATH):
            outputs, targets = block(theta0, x), block(finetuned, x)
            score = cosine_similarity(outputs.flatten(1), targets.flatten(1)).mean()
            gradients = dict(
                zip(theta0, torch.autograd.grad(score, list(theta0.values()), create_graph=True), strict=True)
            )
            terms = [
                1 - cosine_similarity(gradients[name].flatten(), (finetuned[name] - base[name]).flatten(), dim=0)
                for name in live
            ]
            loss = sum(terms[1:], terms[0])
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
        yield loss.item() / len(live)


def reference_adaptation(
    block: Block,
    base: Mapping[str, Tensor],
    task_vectors: Sequence[Mapping[str, Tensor]] | None,
    initial: float,
    x: Tensor,
    y: Tensor,
    settings: AdaptSettings,
    seed: int,
) -> Iterator[tuple[float, dict[str, Tensor]]]:
    """After each epoch, the mean distance over it and the block's tensors. x, y: (N, tokens, d), of all tasks.

    `task_vectors`: those whose element-wise coefficients, which begin at `initial`, are trained; None: the weights are. The
    batches are those of `fda.anchors.adapt` with the same seed.
    """
    weights = {name: tensor.clone() for name, tensor in base.items()}
    alphas = [{name: torch.full_like(tau[name], initial) for name in base} for tau in task_vectors or ()]
    trained = [tensor.requires_grad_() for one in alphas or [weights] for tensor in one.values()]
    lr, epochs = (
        (settings.weights_lr, settings.weights_epochs)
        if task_vectors is None
        else (settings.coefficients_lr, settings.coefficients_epochs)
    )

    def theta() -> dict[str, Tensor]:
        tensors = dict(weights)
        for alpha, tau in zip(alphas, task_vectors or (), strict=True):
            tensors = {name: tensor + alpha[name] * tau[name] for name, tensor in tensors.items()}
        return tensors

    optimizer = torch.optim.Adam(trained, lr=lr)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        total = 0.0
        for batch in torch.randperm(len(x), generator=generator).split(settings.batch):
            outputs, targets = block(theta(), x[batch]).flatten(1), y[batch].flatten(1)
            if settings.distance == "cos":
                loss = (1 - cosine_similarity(outputs, targets)).sum()
            elif settings.distance == "mse":
                loss = (outputs - targets).square().sum()
            else:
                loss = (outputs - targets).abs().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        yield total / len(x), {name: tensor.detach().clone() for name, tensor in theta().items()}

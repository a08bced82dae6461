"""Adaptation: train a block on the anchors of all tasks to give the outputs of the finetuned blocks.

Starting from the pretrained model, the block's weights are trained; starting from a merged model, element-wise coefficients
of task vectors (paper, adaptation). A generator of events, like construction.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fda.anchors.loss import Parameters
from fda.architectures.blocks import Block
from fda.errors import UserError
from fda.settings import AdaptSettings


@dataclass(frozen=True)
class Epoch:
    """One pass over the pooled anchors; `loss` is the mean distance per anchor over the pass.

    `parameters()` copies the block's tensors after the pass; call it before the generator resumes.
    """

    epoch: int
    loss: float
    parameters: Callable[[], dict[str, Tensor]] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Adapted:
    """The adapted tensors of the block, detached, on the device."""

    parameters: dict[str, Tensor]


def pool(block: Block, finetuned: Sequence[Parameters], anchors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """All tasks' anchors and their targets φ(θi, x): two tensors (Σn, tokens, d) in the tasks' order."""
    with torch.no_grad():
        targets = [block(parameters, x) for parameters, x in zip(finetuned, anchors, strict=True)]
    return torch.cat(list(anchors)), torch.cat(targets)


def adapt_weights(
    block: Block, base: Parameters, x: Tensor, y: Tensor, settings: AdaptSettings, *, seed: int
) -> Iterator[Epoch | Adapted]:
    """Minimise Σ Dist(φ(θ, x), y) over θ, starting from `base`. x, y: (N, tokens, d), of all tasks."""
    theta = {name: tensor.detach().clone().requires_grad_() for name, tensor in base.items()}
    lr, epochs = settings.weights_lr, settings.weights_epochs
    return _adapt(block, lambda: theta, list(theta.values()), x, y, settings, lr, epochs, seed)


def adapt_coefficients(
    block: Block,
    base: Parameters,
    task_vectors: Iterable[Parameters],
    initial: float,
    x: Tensor,
    y: Tensor,
    settings: AdaptSettings,
    *,
    seed: int,
) -> Iterator[Epoch | Adapted]:
    """Minimise Σ Dist(φ(θ0 + Σ_k α_k ⊙ τ_k, x), y) over α, all of whose elements are initially `initial`.

    Task arithmetic: k runs over the tasks and initial = λ. Other merged models: one τ = merged − θ0 and initial = 1.
    """
    theta0 = _flat(base, base)  # one long vector is faster than many short ones
    taus = [_flat(task_vector, base) for task_vector in task_vectors]
    alphas = [torch.full_like(tau, initial).requires_grad_() for tau in taus]
    sizes = [tensor.numel() for tensor in base.values()]

    def merged() -> dict[str, Tensor]:
        theta = theta0
        for alpha, tau in zip(alphas, taus, strict=True):
            theta = torch.addcmul(theta, alpha, tau)
        parts = zip(base.items(), theta.split(sizes), strict=True)
        return {name: part.view_as(tensor) for (name, tensor), part in parts}

    lr, epochs = settings.coefficients_lr, settings.coefficients_epochs
    return _adapt(block, merged, alphas, x, y, settings, lr, epochs, seed)


def _flat(tensors: Parameters, order: Iterable[str]) -> Tensor:
    """All entries of the tensors in one vector."""
    return torch.cat([tensors[name].flatten() for name in order])


def distances(outputs: Tensor, targets: Tensor, settings: AdaptSettings) -> Tensor:
    """Dist summed over the anchors of a batch: 1 − cos of the flattened outputs, squared error, or absolute error."""
    if settings.distance == "cos":
        return (1 - torch.nn.functional.cosine_similarity(outputs.flatten(1), targets.flatten(1))).sum()
    if settings.distance == "mse":
        return torch.nn.functional.mse_loss(outputs, targets, reduction="sum")
    return torch.nn.functional.l1_loss(outputs, targets, reduction="sum")


def _adapt(
    block: Block,
    parameters: Callable[[], Mapping[str, Tensor]],
    trained: list[Tensor],
    x: Tensor,
    y: Tensor,
    settings: AdaptSettings,
    lr: float,
    epochs: int,
    seed: int,
) -> Iterator[Epoch | Adapted]:
    """Run Adam over shuffled batches; `parameters()` computes the block's tensors from the trained ones."""

    def copied() -> dict[str, Tensor]:
        with torch.no_grad():
            return {name: tensor.detach().clone() for name, tensor in parameters().items()}

    optimizer = torch.optim.Adam(trained, lr=lr, fused=True)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        total = torch.zeros((), device=x.device)
        for batch in torch.randperm(len(x), generator=generator).split(settings.batch):
            batch = batch.to(x.device)
            loss = distances(block(parameters(), x[batch]), y[batch], settings)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
        mean = total.item() / len(x)
        if mean != mean:
            raise UserError(
                f"the adaptation loss of block {block.index} is no longer a number in epoch {epoch}: "
                "lower the learning rate."
            )
        yield Epoch(epoch, mean, copied)
    yield Adapted({name: tensor.detach() for name, tensor in parameters().items()})

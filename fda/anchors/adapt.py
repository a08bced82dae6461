"""Adaptation: train a block on the anchors of all tasks to give the outputs of the finetuned blocks.

Starting from the pretrained model (paper, adaptation) or the sum of task vectors (ours), the block's weights are trained; from
another merged model, element-wise coefficients of task vectors (paper). A generator of events, like construction.
`fda.anchors.arithmetic` computes what the steps need.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fda.anchors.arithmetic import PLAIN, Arithmetic, within_memory
from fda.anchors.loss import Parameters
from fda.architectures.blocks import Block
from fda.errors import UserError
from fda.settings import AdaptSettings

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8  # of Adam, torch's defaults


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


def rate_unit(settings: AdaptSettings, base: Parameters, finetuned: Iterable[Parameters]) -> float:
    """What `weights_lr` is a multiple of: 1, or for a relative rate the root mean square of the entries of all τi."""
    if settings.weights_rate == "absolute":
        return 1.0
    squares = [
        torch.stack([(parameters[name] - theta0).square().sum() for name, theta0 in base.items()]).sum()
        for parameters in finetuned
    ]
    entries = len(squares) * sum(theta0.numel() for theta0 in base.values())
    return (torch.stack(squares).sum() / entries).sqrt().item()


def adapt_weights(
    block: Block,
    start: Parameters,
    x: Tensor,
    y: Tensor,
    settings: AdaptSettings,
    *,
    seed: int,
    unit: float = 1.0,
    arithmetic: Arithmetic = PLAIN,
) -> Iterator[Epoch | Adapted]:
    """Minimise Σ Dist(φ(θ, x), y) over θ, starting from `start`. x, y: (N, tokens, d), of all tasks; `unit`: of `rate_unit`."""
    theta = _flat(start, start)
    optimizer = torch.optim.Adam([theta], lr=settings.weights_lr * unit, fused=True)

    def update(gradient: Tensor) -> None:
        theta.grad = gradient
        optimizer.step()

    return _adapt(block, start, theta, update, x, y, settings, settings.weights_epochs, seed, arithmetic)


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
    arithmetic: Arithmetic = PLAIN,
) -> Iterator[Epoch | Adapted]:
    """Minimise Σ Dist(φ(θ0 + Σ_k α_k ⊙ τ_k, x), y) over α, all of whose elements are initially `initial`.

    Task arithmetic: k runs over the tasks and initial = λ. Other merged models: one τ = merged − θ0 and initial = 1.
    """
    taus = [_flat(task_vector, base) for task_vector in task_vectors]
    theta = _flat(base, base)
    for tau in taus:
        theta.add_(tau, alpha=initial)
    update = _coefficient_steps(theta, taus, settings.coefficients_lr, arithmetic)
    return _adapt(block, base, theta, update, x, y, settings, settings.coefficients_epochs, seed, arithmetic)


def _coefficient_steps(
    theta: Tensor, taus: Sequence[Tensor], lr: float, arithmetic: Arithmetic
) -> Callable[[Tensor], None]:
    """Steps of Adam on all α_k, given the gradient at θ = θ0 + Σ_k α_k ⊙ τ_k, which they change in place.

    The gradient at α_k is τ_k ⊙ g, and τ_k is constant, so Adam's moments of α_k are τ_k ⊙ m and τ_k² ⊙ v, with m and v those
    of g: they are kept once, not once for each k, and α_k itself is not needed. What all α_k change θ by is
    −lr m̂ Σ_k τ_k² / (|τ_k| √v̂ + ε).
    """
    change, m, v = (torch.zeros_like(theta) for _ in range(3))
    state = (theta, theta.clone(), change, m, v)
    step = arithmetic.elementwise(_coefficient_step)
    steps = 0

    def update(gradient: Tensor) -> None:
        nonlocal steps
        steps += 1
        step((-lr / (1 - BETA_1**steps), 1 - BETA_2**steps), *state, gradient, *taus)

    return update


def _coefficient_step(
    numbers: tuple[float, float],
    theta: Tensor,
    begun: Tensor,
    change: Tensor,
    m: Tensor,
    v: Tensor,
    gradient: Tensor,
    *taus: Tensor,
) -> None:
    """One step, entry by entry. `numbers`: −lr over the correction of m's bias, and the correction of v's."""
    rate, second = numbers
    m.lerp_(gradient, 1 - BETA_1)
    v.mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
    root = v.div(second).sqrt_()
    reach = torch.zeros_like(root)
    for tau in taus:
        reach.addcdiv_(tau * tau, tau.abs().mul_(root).add_(EPSILON))
    change.add_(m.mul(rate).mul_(reach))  # kept apart from θ, next to which a step is small
    torch.add(begun, change, out=theta)


def _flat(tensors: Parameters, order: Iterable[str]) -> Tensor:
    """All entries of the tensors in one new vector."""
    return torch.cat([tensors[name].detach().flatten() for name in order])


def _adapt(
    block: Block,
    base: Parameters,
    theta: Tensor,
    update: Callable[[Tensor], None],
    x: Tensor,
    y: Tensor,
    settings: AdaptSettings,
    epochs: int,
    seed: int,
    arithmetic: Arithmetic,
) -> Iterator[Epoch | Adapted]:
    """Go over shuffled batches; `update(gradient)` changes `theta`, all tensors of the block as one vector, in place."""
    parts = theta.split([tensor.numel() for tensor in base.values()])
    views = {
        name: part.view_as(tensor).detach().requires_grad_()
        for (name, tensor), part in zip(base.items(), parts, strict=True)
    }

    def copied() -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in views.items()}

    gradient_of = within_memory(arithmetic.gradient(block, settings.distance))
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        total = torch.zeros((), device=x.device)
        order = torch.randperm(len(x), generator=generator).to(x.device)  # at once: each copy waits for the device
        for batch in order.split(settings.batch):
            loss, gradient = gradient_of(views, x[batch], y[batch])
            update(gradient)
            total += loss
        mean = total.item() / len(x)
        if mean != mean:
            raise UserError(
                f"the adaptation loss of block {block.index} is no longer a number in epoch {epoch}: "
                "lower the learning rate."
            )
        yield Epoch(epoch, mean, copied)
    yield Adapted(copied())

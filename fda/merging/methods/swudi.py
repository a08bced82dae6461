"""SWUDI and SWUDI-A: WUDI's quadratic in closed form, solved only in the directions that matter."""

from collections.abc import Callable, Iterator, Sequence
from math import ceil
from typing import TYPE_CHECKING, Annotated

from fda.checkpoints.treatments import is_inner_matrix
from fda.merging.math.second_moments import filtered, normalised, second_moments, sums
from fda.merging.method import UP_TO_3, Hyper, Weights, each_tensor, merging_method, summed, task_vectors

if TYPE_CHECKING:
    from torch import Tensor

PAPER = "https://arxiv.org/abs/2606.07289"
SCALE = Hyper(
    "coefficient of the merged update", 0.0, 3.0, "1 for CLIP in the authors' code, near 1/T for LLMs", UP_TO_3
)


@merging_method(
    name="swudi",
    title="SWUDI",
    idea="WUDI in closed form, with a filter that leaves weak directions of the task vectors summed.",
    paper=PAPER,
    year=2026,
)
def swudi(
    base: Weights,
    finetuned: Sequence[Weights],
    *,
    time: Annotated[
        float, Hyper("time t of the exponential filter", 0.0, None, "1300 for ViT-B/32; 1800 for B/16, 300 for Llama")
    ] = 1300.0,
    rank: Annotated[
        float, Hyper("fraction r of the directions that are resolved", 0.0, 1.0, "0.65 for CLIP; 0.85 for Llama")
    ] = 0.65,
    scale: Annotated[float, SCALE] = 1.0,
) -> Iterator[tuple[str, "Tensor"]]:
    """θ = θ0 + M, M = S + (D V diag(f/λ) − S V diag(f)) Vᵀ for matrices, else the mean of τi (SWUDI, 2606.07289).

    S = Σ τi, D = Σ τi Ci, Σ Ci = V diag(λ) Vᵀ and Ci = τiᵀτi / ‖τi‖², as in WUDI. f = 1 − exp(−λt) for the ⌈r·n⌉ largest of
    the n eigenvalues, which is WUDI by gradient flow for the time t, and 0 for the others. All matrices but `lm_head`, as in
    the released code.
    """
    import torch

    def share(values: "Tensor") -> "Tensor":
        return _leading(1 - torch.exp(-values * time), max(1, ceil(rank * len(values))))

    yield from _merged(base, finetuned, share, scale)


@merging_method(
    name="swudi_a",
    title="SWUDI-A",
    idea="SWUDI without a filter's time: each matrix has its own number of directions.",
    paper=PAPER,
    year=2026,
)
def swudi_a(
    base: Weights, finetuned: Sequence[Weights], *, scale: Annotated[float, SCALE] = 1.0
) -> Iterator[tuple[str, "Tensor"]]:
    """SWUDI with f = 1 for the K = ⌈(Σ √λ)² / Σ λ⌉ largest eigenvalues, 0 for the others (SWUDI-A, 2606.07289)."""
    import torch

    def share(values: "Tensor") -> "Tensor":
        count = ceil(float(values.sqrt().sum().square() / values.sum()))
        return _leading(torch.ones_like(values), min(count, len(values)))

    yield from _merged(base, finetuned, share, scale)


def _leading(values: "Tensor", count: int) -> "Tensor":
    """The first `count` values, and zeros."""
    values[count:] = 0
    return values


def _merged(
    base: Weights, finetuned: Sequence[Weights], share: Callable[["Tensor"], "Tensor"], scale: float
) -> Iterator[tuple[str, "Tensor"]]:
    for name, theta0 in each_tensor(base):
        taus = task_vectors(name, theta0, finetuned)
        if is_inner_matrix(name, theta0):
            update = filtered(sums(taus, lambda tau: normalised(second_moments(tau), 1.0)), share)
        else:
            update = summed(list(taus)).div_(len(finetuned))
        yield name, update.mul_(scale).add_(theta0)
        del update  # before the next tensor is read

"""ACTMat and TACT: RegMean in closed form without inputs, with moments taken from the task vectors."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from fda.merging.math.matrices import is_solved, parts, rows_of
from fda.merging.math.second_moments import least_norm, second_moments, sums
from fda.merging.math.sparsify import crumbs
from fda.merging.method import Hyper, Weights, each_tensor, merging_method, summed, task_vectors

if TYPE_CHECKING:
    from torch import Tensor

PAPER = "https://arxiv.org/abs/2604.01329"
EVEN = Hyper(
    "power of 1/‖τi‖² that multiplies each Ci; at 1 a task with large task vectors counts no more than another",
    0.0,
    1.0,
    "0, as published; the setting is ours",
)


@merging_method(
    name="actmat",
    title="ACTMat",
    idea="RegMean in closed form with τᵀτ in place of the second moments of real inputs.",
    paper=PAPER,
    year=2026,
)
def actmat(
    base: Weights,
    finetuned: Sequence[Weights],
    *,
    even: Annotated[float, EVEN] = 0.0,
) -> Iterator[tuple[str, "Tensor"]]:
    """θ = θ0 + (Σ τi Ci)(Σ Ci)⁺ with Ci = τiᵀτi for matrices, else the mean of τi (ACTMat, 2604.01329).

    Matrices are those of SVD-based methods but for sides of 20,000 and more; query, key and value of a fused projection
    are merged separately. With `even` = 1 the quadratic is WUDI's, solved exactly.
    """
    yield from _merged(base, finetuned, even, lambda tau: tau)


@merging_method(
    name="tact",
    title="TACT",
    idea="ACTMat with the moments taken from the largest entries of each task vector only.",
    paper=PAPER,
    year=2026,
)
def tact(
    base: Weights,
    finetuned: Sequence[Weights],
    *,
    density: Annotated[
        float, Hyper("fraction of each matrix' entries, the largest, that form Ci", 0.0, 1.0, "0.5 in 2604.01329")
    ] = 0.5,
    even: Annotated[float, EVEN] = 0.0,
) -> Iterator[tuple[str, "Tensor"]]:
    """ACTMat with Ci = τ̂iᵀτ̂i, where τ̂i keeps the ⌊mn · density⌋ largest |entries| of τi and those tied with them."""
    yield from _merged(base, finetuned, even, lambda tau: crumbs(tau, density, 0.0))


def _merged(
    base: Weights, finetuned: Sequence[Weights], even: float, sparsify: Callable[["Tensor"], "Tensor"]
) -> Iterator[tuple[str, "Tensor"]]:
    import torch

    def moments(tau: "Tensor") -> "Tensor":
        square = tau.double().square().sum()
        return second_moments(sparsify(tau)).div_(square**even if square > 0 else 1.0)

    for name, theta0 in each_tensor(base):
        if is_solved(name, theta0):
            solved = [least_norm(sums(rows_of(part, name, theta0, finetuned), moments)) for part in parts(name, theta0)]
            update = torch.cat(solved)
            del solved
        else:
            update = summed(list(task_vectors(name, theta0, finetuned))).div_(len(finetuned))
        yield name, update.add_(theta0)
        del update  # before the next tensor is read

"""Iso-C: isotropic merging in the common subspace."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

from fda.checkpoints.treatments import is_matrix
from fda.merging.math.parallel import side_by_side
from fda.merging.math.singular import polar
from fda.merging.method import UP_TO_3, Hyper, Weights, finite, merging_method, task_vectors

if TYPE_CHECKING:
    from torch import Tensor


@merging_method(
    name="iso_c",
    title="Iso-C",
    idea="Sum the task vectors and make all singular values equal.",
    paper="https://arxiv.org/abs/2502.04959",
    year=2025,
)
def iso_c(
    base: Weights,
    finetuned: Sequence[Weights],
    *,
    scale: Annotated[
        float,
        Hyper(
            "coefficient α of the merged update",
            0.0,
            3.0,
            "1 in fusion_bench; Marczak et al. 2025 sweep 0.1 … 3",
            UP_TO_3,
        ),
    ] = 1.0,
) -> Iterator[tuple[str, "Tensor"]]:
    """θ = θ0 + α Δ; for a matrix Δ = s̄ U Vᵀ of Σ τi = U diag(s) Vᵀ, else the mean of τi (Marczak et al. 2025).

    s̄ is the mean of all min(m, n) singular values, zeros included, as in the released code. The singular vectors of zero
    singular values are arbitrary, and so are the directions that complete a rank-deficient sum.
    """
    pieces = (partial(_merged, name, base, finetuned, scale) for name in base)
    yield from (merged for merged in side_by_side(pieces) if merged is not None)


def _merged(name: str, base: Weights, finetuned: Sequence[Weights], scale: float) -> tuple[str, "Tensor"] | None:
    """(name, merged tensor), None if the base's tensor is not floating-point.

    The lane that merges a tensor also reads it, so that memory follows the number of lanes. θ0 is freed before the polar
    factor is computed, and read again after it.
    """
    theta0 = base[name]
    if not theta0.is_floating_point():
        return None
    total = _sum(name, finite(name, theta0.float(), base), finetuned)
    matrix = is_matrix(name, theta0)
    del theta0
    update = isotropic(total) if matrix else total.div_(len(finetuned))
    del total
    return name, update.mul_(scale).add_(base[name])


def _sum(name: str, theta0: "Tensor", finetuned: Sequence[Weights]) -> "Tensor":
    """Σ τi, with one τi in memory at a time beside it."""
    taus = task_vectors(name, theta0, finetuned)
    total = next(taus)
    for tau in taus:
        total.add_(tau)
    return total


def isotropic(matrix: "Tensor") -> "Tensor":
    """The m × n matrix with every singular value replaced by their mean, which is ⟨P, A⟩ / min(m, n) of the polar factor P."""
    factor = polar(matrix)
    return factor.mul_(factor.flatten() @ matrix.flatten() / min(matrix.shape))

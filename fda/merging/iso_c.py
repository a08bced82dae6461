"""Iso-C: isotropic merging in the common subspace."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

from fda.merging.method import UP_TO_3, Hyper, Weights, each_tensor, is_matrix, merging_method, task_vectors
from fda.merging.singular import polar, side_by_side

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

    s̄ is the mean of all min(m, n) singular values, zeros included, as in the released code; the singular vectors of zero
    singular values are arbitrary, so a rank-deficient sum is filled up with arbitrary directions.
    """
    yield from side_by_side(_pieces(base, finetuned, scale))


def _pieces(base: Weights, finetuned: Sequence[Weights], scale: float) -> Iterator[Callable[[], tuple[str, "Tensor"]]]:
    """One piece of work a tensor. It holds Σ τi and no τi, so that memory follows the lanes and not the tasks."""
    for name, theta0 in each_tensor(base):
        total = sum(task_vectors(name, theta0, finetuned))
        yield partial(_merged, name, theta0, total, len(finetuned), scale)


def _merged(name: str, theta0: "Tensor", total: "Tensor", tasks: int, scale: float) -> tuple[str, "Tensor"]:
    update = isotropic(total) if is_matrix(name, theta0) else total / tasks
    return name, theta0 + update.mul_(scale)


def isotropic(matrix: "Tensor") -> "Tensor":
    """The m × n matrix with every singular value replaced by their mean, which is ⟨P, A⟩ / min(m, n) of the polar factor P."""
    factor = polar(matrix)
    return factor.mul_(factor.flatten() @ matrix.flatten() / min(matrix.shape))

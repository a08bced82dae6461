"""Iso-CTS: isotropic merging in common and task-specific subspaces."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

from fda.checkpoints.treatments import is_matrix
from fda.merging.math.parallel import side_by_side
from fda.merging.math.singular import polar, top_triples
from fda.merging.method import UP_TO_3, Hyper, Weights, all_weights, merging_method, total

if TYPE_CHECKING:
    from torch import Tensor


@merging_method(
    name="iso_cts",
    title="Iso-CTS",
    idea="Iso-C with the smallest singular directions of the sum replaced by directions of single tasks.",
    paper="https://arxiv.org/abs/2502.04959",
    year=2025,
)
def iso_cts(
    base: Weights,
    finetuned: Sequence[Weights],
    *,
    common: Annotated[
        float, Hyper("fraction of the rank given to the common subspace", 0.0, 1.0, "0.8 in Marczak et al. 2025")
    ] = 0.8,
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
    """θ = θ0 + α Δ; for a matrix Δ = s̄ U⊥ V⊥ᵀ of the task and common directions, else the mean of τi (Marczak et al. 2025).

    Of r = min(m, n) directions, ⌊r·common⌋ are common (the top of Σ τi). The others, rounded to a multiple of T, are
    divided among the tasks: each gives the top directions of its τi outside the common left space. U and V are made
    orthogonal by their polar factor; s̄ is the mean of the r values. Where rounding asks for more than r directions, the
    released code fails; here each task gives ⌊r/T⌋.
    """
    for name, theta0, taus in all_weights(base, finetuned):
        update = _isotropic_subspaces(taus, common) if is_matrix(name, theta0) else sum(taus) / len(taus)
        yield name, theta0 + scale * update


def _isotropic_subspaces(taus: Sequence["Tensor"], common: float) -> "Tensor":
    """The merged update of one m × n matrix."""
    import torch

    rank, tasks = min(taus[0].shape), len(taus)
    each = min(round((rank - int(rank * common)) / tasks), rank // tasks)  # directions of one task
    shared = rank - each * tasks
    left, values, right = top_triples(total(taus), shared)
    specific = list(side_by_side(partial(_outside, tau, left, each) for tau in (taus if each else ())))
    lefts = torch.cat([*(u for u, _, _ in specific), left], dim=1)  # m × r
    spectrum = torch.cat([*(s for _, s, _ in specific), values])
    rights = torch.cat([*(vt for _, _, vt in specific), right])  # r × n
    lefts, rights = side_by_side(partial(polar, factor) for factor in (lefts, rights))
    return spectrum.mean() * (lefts @ rights)


def _outside(tau: "Tensor", left: "Tensor", count: int) -> tuple["Tensor", "Tensor", "Tensor"]:
    """The leading triples of τ after projecting out the space of `left`."""
    return top_triples(tau - left @ (left.T @ tau), count)

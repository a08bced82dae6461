"""MagMax."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from fda.merging.method import UP_TO_1, Hyper, Weights, all_weights, merging_method

if TYPE_CHECKING:
    from torch import Tensor


@merging_method(
    name="magmax",
    title="MagMax",
    idea="Take each entry from the task vector in which it is largest.",
    paper="https://arxiv.org/abs/2407.06322",
    year=2024,
)
def magmax(
    base: Weights,
    finetuned: Sequence[Weights],
    *,
    scale: Annotated[
        float,
        Hyper(
            "coefficient λ of the merged task vector",
            0.0,
            2.0,
            "0.5, the 8-task script of Marczak et al. 2024",
            UP_TO_1,
        ),
    ] = 0.5,
) -> Iterator[tuple[str, "Tensor"]]:
    """θ = θ0 + λ τ*, where τ*[j] = τi[j] of the i with the largest |τi[j]| (Marczak et al. 2024).

    Of equal magnitudes the later task's wins (≥), as in the released code: only here the order of tasks matters.
    """
    for name, theta0, taus in all_weights(base, finetuned):
        largest = taus[0]
        for tau in taus[1:]:
            largest = tau.where(tau.abs() >= largest.abs(), largest)
        yield name, theta0 + scale * largest

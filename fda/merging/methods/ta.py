"""Task arithmetic."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from fda.merging.method import UP_TO_1, Hyper, Weights, all_weights, merging_method, summed

if TYPE_CHECKING:
    from torch import Tensor


@merging_method(
    name="ta",
    title="Task arithmetic",
    idea="Add every task vector, scaled by one coefficient λ.",
    paper="https://arxiv.org/abs/2212.04089",
    year=2023,
)
def ta(
    base: Weights,
    finetuned: Sequence[Weights],
    *,
    scale: Annotated[
        float, Hyper("coefficient λ of the task vectors", 0.0, 2.0, "0.3 in Ilharco et al. 2023", UP_TO_1)
    ] = 0.3,
) -> Iterator[tuple[str, "Tensor"]]:
    """θ = θ0 + λ Σ τi (Ilharco et al. 2023)."""
    for name, theta0, taus in all_weights(base, finetuned):
        yield name, summed(taus).mul_(scale).add_(theta0)

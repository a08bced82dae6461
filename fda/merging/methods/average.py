"""Simple averaging of the finetuned weights."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fda.merging.method import Weights, all_weights, merging_method, summed

if TYPE_CHECKING:
    from torch import Tensor


@merging_method(
    name="average",
    title="Weight average",
    idea="The mean of the finetuned weights.",
    paper="https://arxiv.org/abs/2203.05482",
    year=2022,
)
def average(base: Weights, finetuned: Sequence[Weights]) -> Iterator[tuple[str, "Tensor"]]:
    """θ = θ0 + (1/T) Σ τi, which is the mean of the finetuned weights (Wortsman et al. 2022); θ0 itself has no weight."""
    for name, theta0, taus in all_weights(base, finetuned):
        yield name, summed(taus).div_(len(taus)).add_(theta0)

"""The two reference rows of every comparison: the pretrained model on all tasks, and each finetuned model on its task."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fda.merging.method import Method, Weights, all_weights, merging_method

if TYPE_CHECKING:
    from torch import Tensor


@merging_method(
    name="pretrained",
    title="Pretrained",
    idea="The base model as it is: the floor of every comparison.",
)
def pretrained(base: Weights, finetuned: Sequence[Weights]) -> Iterator[tuple[str, "Tensor"]]:
    """θ = θ0."""
    for name, theta0, _ in all_weights(base, ()):
        yield name, theta0


individual = Method(
    name="individual",
    title="Individual",
    idea="Each finetuned model on its own task: the ceiling of every comparison, but not one model.",
)

"""The sum of all task vectors."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fda.merging.method import Weights, all_weights, merging_method, summed

if TYPE_CHECKING:
    from torch import Tensor


@merging_method(
    name="sum",
    title="Sum of task vectors",
    idea="Add every task vector in full: task arithmetic with λ = 1, where WUDI and SWUDI begin.",
    paper="https://arxiv.org/abs/2212.04089",
    year=2023,
)
def task_vector_sum(base: Weights, finetuned: Sequence[Weights]) -> Iterator[tuple[str, "Tensor"]]:
    """θ = θ0 + Σ τi (Ilharco et al. 2023, at λ = 1)."""
    for name, theta0, taus in all_weights(base, finetuned):
        yield name, summed(taus).add_(theta0)

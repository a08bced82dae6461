"""The sum of all task vectors."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fda.merging.method import Weights, merging_method
from fda.merging.methods.ta import ta

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
    assert ta.merge is not None, "task arithmetic merges"
    yield from ta.merge(base, finetuned, scale=1.0)

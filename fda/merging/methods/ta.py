"""Task arithmetic."""

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Annotated

from fda.errors import UserError
from fda.merging.method import UP_TO_1, Hyper, Weights, all_weights, merging_method, summed

if TYPE_CHECKING:
    from torch import Tensor

MOST = 10.0  # the largest weight of a task


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
    weights: Annotated[
        str,
        Hyper(
            "a factor w of each task vector, in the order of the tasks, such as 1,0.5,2; empty: 1 each",
            source="Ilharco et al. 2023 weight all alike",
        ),
    ] = "",
) -> Iterator[tuple[str, "Tensor"]]:
    """θ = θ0 + λ Σ wi τi (Ilharco et al. 2023). UserError if `weights` are not one number a task from 0 to 10."""
    factors = task_weights(weights, len(finetuned))
    for name, theta0, taus in all_weights(base, finetuned):
        for tau, factor in zip(taus, factors, strict=True):
            if factor != 1:
                tau.mul_(factor)
        yield name, summed(taus).mul_(scale).add_(theta0)


def task_weights(weights: str, tasks: int) -> list[float]:
    """`"1,0.5"` → [1.0, 0.5]; 1 each if empty. UserError unless they are one number a task from 0 to 10."""
    if not weights.strip():
        return [1.0] * tasks
    try:
        numbers = [float(part) for part in weights.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != tasks or not all(isfinite(one) and 0 <= one <= MOST for one in numbers):
        raise UserError(
            f"weights {weights!r} of task arithmetic do not fit: give one number from 0 to {MOST:g} for each of the {tasks} "
            "tasks, in their order, with commas between."
        )
    return numbers

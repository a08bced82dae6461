"""Spherical linear interpolation of two finetuned models."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from fda.errors import UserError
from fda.merging.method import Hyper, Weights, finite, merging_method

if TYPE_CHECKING:
    from torch import Tensor

PARALLEL = 0.9995  # |cos| above which SLERP takes the straight line, as in mergekit


@merging_method(
    name="slerp",
    title="SLERP",
    idea="Go along the arc between two finetuned models' weights; for exactly two tasks.",
    paper="https://arxiv.org/abs/2403.13257",
    year=2024,
    tasks=2,
)
def slerp(
    base: Weights,
    finetuned: Sequence[Weights],
    *,
    t: Annotated[
        float,
        Hyper("position on the arc from the first task to the second", 0.0, 1.0, "0.5, the middle; mergekit has none"),
    ] = 0.5,
) -> Iterator[tuple[str, "Tensor"]]:
    """θ = [sin((1 − t) ϑ) θ1 + sin(t ϑ) θ2] / sin ϑ, ϑ the angle between θ1 and θ2, per tensor (Shoemake 1985).

    Works on the weights, not the task vectors, as in mergekit (Goddard et al. 2024). Where |cos ϑ| > 0.9995 or a tensor
    is zero, it takes the straight line; models finetuned from one base are often that close, and then SLERP with t = 0.5 is
    the weight average. Raises UserError unless there are exactly two tasks.
    """
    if len(finetuned) != 2:
        raise UserError(
            f"slerp merges exactly two tasks, not {len(finetuned)}: name two with --tasks, or leave slerp out of --methods."
        )
    first, second = finetuned
    for name in base:
        if base[name].is_floating_point():
            yield name, _arc(finite(name, first[name].float(), first), finite(name, second[name].float(), second), t)


def _arc(first: "Tensor", second: "Tensor", t: float) -> "Tensor":
    from math import acos, sin

    product = float(first.double().norm() * second.double().norm())
    cosine = float((first.double() * second.double()).sum()) / product if product else 1.0
    if abs(cosine) > PARALLEL:
        return (1 - t) * first + t * second
    angle = acos(cosine)
    return (sin((1 - t) * angle) * first + sin(t * angle) * second) / sin(angle)

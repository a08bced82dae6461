"""Spherical linear interpolation of two finetuned models."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from fda.errors import UserError
from fda.merging.method import Hyper, Weights, finite, merging_method

if TYPE_CHECKING:
    from torch import Tensor

PARALLEL = 0.9995  # |cos| above which the straight line is taken, as in mergekit


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
        Hyper("where on the arc from the first to the second task", 0.0, 1.0, "0.5: both alike; mergekit has none"),
    ] = 0.5,
) -> Iterator[tuple[str, "Tensor"]]:
    """θ = [sin((1 − t) ϑ) θ1 + sin(t ϑ) θ2] / sin ϑ, ϑ the angle between θ1 and θ2, per tensor (Shoemake 1985).

    On the weights themselves, not the task vectors, as in mergekit (Goddard et al. 2024). Where |cos ϑ| > 0.9995 or a
    tensor is zero it is the straight line; models finetuned from one base are often that close, and then SLERP is the
    weight average. Raises UserError unless there are exactly two tasks.
    """
    if len(finetuned) != 2:
        raise UserError(
            f"slerp merges exactly two tasks, not {len(finetuned)}: name two with --tasks, or leave slerp out of --methods."
        )
    first, second = finetuned
    for name in base:
        if base[name].is_floating_point():
            yield name, _arc(*(finite(name, ends[name].float(), ends) for ends in (first, second)), t)


def _arc(start: "Tensor", end: "Tensor", t: float) -> "Tensor":
    from math import acos, sin

    product = float(start.double().norm() * end.double().norm())
    cosine = float((start.double() * end.double()).sum()) / product if product else 1.0
    if abs(cosine) > PARALLEL:
        return (1 - t) * start + t * end
    angle = acos(cosine)
    return (sin((1 - t) * angle) * start + sin(t * angle) * end) / sin(angle)

"""Lengths of task vectors beside one another. No torch."""

import math
import statistics
from collections.abc import Mapping


def times_the_others(norms: Mapping[str, float]) -> dict[str, float]:
    """Task → its norm / the median of the others' norms, for two tasks or more; infinite where that median is 0."""
    ratios = {}
    for task, norm in norms.items():
        others = statistics.median(other for name, other in norms.items() if name != task)
        ratios[task] = norm / others if others else math.inf
    return ratios

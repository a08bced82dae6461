"""Scores of methods on tasks with their confidence intervals: averages, normalised scores, differences. NumPy only.

Every operation on the scores is applied to their resampled values too, so that each derived number has its own interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fda.analysis.intervals import interval

AVERAGE = "average"


@dataclass(frozen=True, eq=False)
class Scores:
    """`values`: (methods, tasks), NaN for a gap. `draws`: their resampled values, (methods, tasks, resamples).

    NaN draws mean that a value's uncertainty is unknown. Instances share arrays: do not write to them.
    """

    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    values: np.ndarray
    draws: np.ndarray

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.tasks, AVERAGE)

    @cached_property
    def table(self) -> np.ndarray:
        """(methods, columns): the tasks, then their average, which is NaN if a task is missing."""
        return np.concatenate([self.values, self.values.mean(axis=1, keepdims=True)], axis=1)

    @cached_property
    def intervals(self) -> np.ndarray:
        """(methods, columns, 2): the 95 % interval of each number in `table`."""
        return interval(np.concatenate([self.draws, self.draws.mean(axis=1, keepdims=True)], axis=1))

    @cached_property
    def surely_not_zero(self) -> np.ndarray:
        """Bool (methods, columns), for differences: the interval excludes zero."""
        return (self.intervals[..., 0] > 0) | (self.intervals[..., 1] < 0)

    def of(self, method: str, column: str = AVERAGE) -> float:
        return float(self.table[self.methods.index(method), self.columns.index(column)])

    def interval_of(self, method: str, column: str = AVERAGE) -> tuple[float, float]:
        """(low, high), both NaN if unknown."""
        low, high = self.intervals[self.methods.index(method), self.columns.index(column)]
        return float(low), float(high)

    def only(self, methods: Sequence[str]) -> "Scores":
        """The scores of these methods, in this order."""
        rows = [self.methods.index(method) for method in methods]
        return Scores(tuple(methods), self.tasks, self.values[rows], self.draws[rows])

    def normalised(self, by: str) -> "Scores":
        """Each task's scores divided by those of the method `by`; NaN on a task where `by` scores 0."""
        row = self.methods.index(by)
        return self._with(_ratio(self.values, self.values[row]), _ratio(self.draws, self.draws[row]))

    def minus(self, baseline: str) -> "Scores":
        """Differences from the method `baseline`."""
        row = self.methods.index(baseline)
        return self._with(self.values - self.values[row], self.draws - self.draws[row])

    def _with(self, values: np.ndarray, draws: np.ndarray) -> "Scores":
        return Scores(self.methods, self.tasks, values, draws)


def _ratio(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    return np.divide(values, by, out=np.full_like(values, np.nan), where=by != 0)

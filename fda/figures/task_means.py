"""Mean and range of each task's units over the steps, in place of a curve for each block."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fda.analysis.common_steps import Curve, on_common_x
from fda.store.records import UnitKey


@dataclass(frozen=True)
class TaskCurve:
    """Over a task's units that reached each of `steps` (S,): their `mean`, `lowest` and `highest` value (S,)."""

    steps: np.ndarray
    mean: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray


def task_curves(series: Mapping[UnitKey, Curve]) -> dict[str, TaskCurve]:
    """Task → mean and range of its units, for the tasks that have any value."""
    tasks = {}
    for task in dict.fromkeys(key.name for key in series):
        curves = [curve for key, curve in series.items() if key.name == task and len(curve[0])]
        if curves:
            steps, rows = on_common_x(curves)
            tasks[task] = TaskCurve(steps, np.nanmean(rows, 0), np.nanmin(rows, 0), np.nanmax(rows, 0))
    return tasks

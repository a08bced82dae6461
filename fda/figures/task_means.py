"""Mean and range of each task's units over the steps, in place of a curve for each block."""

from collections.abc import Mapping

import numpy as np

from fda.store.records import UnitKey

Curve = tuple[np.ndarray, np.ndarray]  # (steps (S,), values (S,))


def ranges(series: Mapping[UnitKey, Curve]) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Task → (steps, lowest, highest) over its units that reached the step."""
    return {task: (steps, np.nanmin(rows, 0), np.nanmax(rows, 0)) for task, (steps, rows) in _by_task(series).items()}


def task_means(series: Mapping[UnitKey, Curve]) -> dict[UnitKey, tuple[np.ndarray, np.ndarray]]:
    """The mean over a task's units that reached the step, as a unit without a block."""
    return {
        UnitKey("construct", task, -1): (steps, np.nanmean(rows, 0)) for task, (steps, rows) in _by_task(series).items()
    }


def _by_task(series: Mapping[UnitKey, Curve]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Task → (all steps of its units (S,), their values (units, S), NaN beyond a unit's first and last step)."""
    tasks = {}
    for task in dict.fromkeys(key.name for key in series):
        curves = [curve for key, curve in series.items() if key.name == task and len(curve[0])]
        if curves:
            steps = np.unique(np.concatenate([steps for steps, _ in curves]))
            rows = [np.interp(steps, *curve, left=np.nan, right=np.nan) for curve in curves]
            tasks[task] = steps, np.stack(rows)
    return tasks

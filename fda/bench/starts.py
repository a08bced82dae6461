"""Compare FDA from each start with the start itself, over several seeds, with confidence intervals.

Its runs are ordinary runs of the store, so the pages show them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fda.analysis.intervals import interval, resampled_accuracies
from fda.errors import UserError
from fda.merging.methods.fda import STARTS
from fda.requests.runs import construct_settings, make_spec
from fda.stages.worker import run_here
from fda.store.predictions import correctness
from fda.store.store import Store
from fda.zoos.zoo import load_zoo


def bench_starts(zoo: str = "demo", *, seeds: Sequence[int] = (0, 1, 2), device: str = "auto") -> dict[str, Any]:
    """Construct and compare once per seed, then return `summary`. UserError if a run or a method fails."""
    store, methods = Store(), tuple(name for start in STARTS for name in (start, f"fda:{start}"))
    family, runs = load_zoo(zoo).family, []
    for seed in seeds:
        spec = make_spec(
            zoo,
            construct=construct_settings("fast", family=family, seed=seed),
            methods=methods,
            device=device,
            seed=seed,
        )
        runs.append(store.create_run(spec))
        if run_here(store, runs[-1]) != "done":
            raise UserError(f"run {runs[-1]} did not finish: `python -m fda runs show {runs[-1]}` says why.")
    return summary(store, runs)


def summary(store: Store, runs: Sequence[str]) -> dict[str, Any]:
    """The average accuracy of each start and of FDA from it, one a run, and their mean difference with its 95 % interval.

    The interval comes from resampling the test samples within each task, alike for both methods and all runs; the averages show
    the spread over seeds.
    """
    tasks = store.run(runs[0]).spec.tasks
    rows = []
    for start in STARTS:
        pairs = [_correct(store, run, (start, f"fda:{start}"), tasks) for run in runs]
        averages = np.array([[correct.mean(axis=1) for correct in pair] for pair in pairs]).mean(axis=1)  # runs × 2
        draws = np.mean([np.diff(resampled_accuracies(pair), axis=0)[0].mean(axis=0) for pair in pairs], axis=0)
        low, high = interval(draws)
        rows.append(
            {
                "start": start,
                "averages": averages[:, 0].tolist(),
                "fda": averages[:, 1].tolist(),
                "difference": float((averages[:, 1] - averages[:, 0]).mean()),
                "interval": [float(low), float(high)],
            }
        )
    return {"zoo": store.run(runs[0]).spec.zoo.name, "runs": list(runs), "tasks": list(tasks), "rows": rows}


def _correct(store: Store, run: str, methods: Sequence[str], tasks: Sequence[str]) -> list[np.ndarray]:
    """For each task a bool (methods, n): which samples each method got right."""
    by_task = [of_task for task in tasks if (of_task := correctness(store.run_dir(run), methods, task)) is not None]
    if len(by_task) < len(tasks):
        raise UserError(
            f"run {run} has no answers of {' and '.join(methods)}: `python -m fda runs show {run}` says why."
        )
    return by_task

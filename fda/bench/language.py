"""Compare merging methods on a pretrained language encoder, from checkpoints to scores with confidence intervals.

Its runs are ordinary runs of the store, so the pages show them. `language_zoo.py` makes the zoo.
"""

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from fda.analysis.intervals import interval, resampled_accuracies
from fda.bench.language_zoo import prepare_zoo
from fda.errors import UserError
from fda.home import fda_home
from fda.requests.runs import construct_settings, make_spec
from fda.settings import Preset
from fda.stages.worker import run_here
from fda.store.predictions import correctness
from fda.store.store import Store
from fda.zoos.zoo import load_zoo

METHODS = (
    "pretrained",
    "individual",
    "average",
    "ta",
    "ties",
    "tsv",
    "iso_c",
    "fda:pretrained",
    "fda:ta",
    "fda:tsv",
)


def bench_language(
    *, seeds: Sequence[int] = (0,), folder: Path | None = None, preset: Preset = "fast", device: str = "auto"
) -> dict[str, Any]:
    """Make the zoo if it is missing, construct and compare once per seed, return `summary` with the seconds of each run.

    Uses the paper's settings for RoBERTa. UserError if a package is missing, or if a run or a method fails.
    """
    zoo = prepare_zoo(fda_home() / "language" if folder is None else folder)
    return compare_zoo(zoo, seeds=seeds, preset=preset, device=device)


def compare_zoo(
    zoo: Path, *, seeds: Sequence[int], preset: Preset = "fast", device: str = "auto", **changes: Any
) -> dict[str, Any]:
    """Like `bench_language` for an existing zoo. `changes`: construction settings that differ from the preset."""
    store, family, runs, seconds = Store(), load_zoo(zoo).family, [], []
    for seed in seeds:
        settings = construct_settings(preset, family=family, seed=seed, **changes)
        spec = make_spec(zoo, construct=settings, methods=METHODS, device=device, seed=seed)
        runs.append(store.create_run(spec))
        began = perf_counter()
        if run_here(store, runs[-1]) != "done":
            raise UserError(f"run {runs[-1]} did not finish: `python -m fda runs show {runs[-1]}` says why.")
        seconds.append(perf_counter() - began)
    return summary(store, runs) | {"seeds": list(seeds), "seconds": seconds}


def summary(store: Store, runs: Sequence[str]) -> dict[str, Any]:
    """Each method's accuracies and average (means over runs) with a 95 % interval; `over_ta`, the average minus ta's, likewise.

    Intervals come from resampling the test samples within each task, alike for all methods and runs, so `over_ta` is paired.
    """
    tasks = store.run(runs[0]).spec.tasks
    scores, draws = [], []
    for run in runs:
        correct = [correctness(store.run_dir(run), METHODS, task) for task in tasks]
        answered = [of_task for of_task in correct if of_task is not None]
        if len(answered) < len(tasks):
            raise UserError(f"run {run} has no answers of some method: `python -m fda runs show {run}` says why.")
        scores.append([of_task.mean(axis=1) for of_task in answered])
        draws.append(resampled_accuracies(answered).mean(axis=1))
    mean, drawn = np.mean(scores, axis=0).T, np.mean(draws, axis=0)  # methods × tasks, methods × resamples
    ta = METHODS.index("ta")
    rows = [
        {
            "method": name,
            "tasks": dict(zip(tasks, mean[index].tolist(), strict=True)),
            "average": float(mean[index].mean()),
            "averages": [float(np.mean([task[index] for task in run_scores])) for run_scores in scores],
            "interval": interval(drawn[index]).tolist(),
            "over_ta": float(mean[index].mean() - mean[ta].mean()),
            "over_ta_interval": interval(drawn[index] - drawn[ta]).tolist(),
        }
        for index, name in enumerate(METHODS)
    ]
    return {"zoo": store.run(runs[0]).spec.zoo.name, "runs": list(runs), "tasks": list(tasks), "rows": rows}

"""From checkpoints to scores on a real pretrained language encoder: merging methods side by side, with intervals.

Runs are ordinary runs of the store, so they can be looked at on the pages afterwards. The zoo is made by `language_zoo.py`.
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
    """Make the zoo where it is not yet, construct and compare once a seed, then `summary` with the seconds of each run.

    The settings are the paper's for RoBERTa. UserError if a package is missing, or a run or a method fails.
    """
    zoo = prepare_zoo(fda_home() / "language" if folder is None else folder)
    return compare_zoo(zoo, seeds=seeds, preset=preset, device=device)


def compare_zoo(
    zoo: Path, *, seeds: Sequence[int], preset: Preset = "fast", device: str = "auto", **changes: Any
) -> dict[str, Any]:
    """As `bench_language` for a zoo that is there. `changes`: construction settings that differ from the preset."""
    store, family, runs, seconds = Store(), load_zoo(zoo).family, [], []
    for seed in seeds:
        settings = construct_settings(preset, family=family, seed=seed, **changes)
        spec = make_spec(zoo, construct=settings, methods=METHODS, device=device, seed=seed)
        runs.append(store.create_run(spec))
        began = perf_counter()
        if run_here(store, runs[-1]) != "done":
            raise UserError(f"run {runs[-1]} did not finish: `python -m fda runs show {runs[-1]}` tells why.")
        seconds.append(perf_counter() - began)
    return summary(store, runs) | {"seeds": list(seeds), "seconds": seconds}


def summary(store: Store, runs: Sequence[str]) -> dict[str, Any]:
    """Of each method: accuracy on each task and their average (means over runs), and its 95 % interval; `over_ta` likewise.

    Intervals are of the test samples, resampled a task at a time, the same for all methods and runs, so that `over_ta`, the
    average minus that of ta, is paired.
    """
    tasks = store.run(runs[0]).spec.tasks
    scores, draws = [], []
    for run in runs:
        found = [correctness(store.run_dir(run), METHODS, task) for task in tasks]
        if any(own is None for own in found):
            raise UserError(f"run {run} has no answers of some method: `python -m fda runs show {run}` tells why.")
        scores.append([own.mean(axis=1) for own in found])
        draws.append(resampled_accuracies(found).mean(axis=1))
    mean, drawn = np.mean(scores, axis=0).T, np.mean(draws, axis=0)  # methods × tasks, methods × resamples
    ta = METHODS.index("ta")
    rows = [
        {
            "method": name,
            "tasks": dict(zip(tasks, mean[place].tolist(), strict=True)),
            "average": float(mean[place].mean()),
            "averages": [float(np.mean([task[place] for task in own])) for own in scores],
            "interval": interval(drawn[place]).tolist(),
            "over_ta": float(mean[place].mean() - mean[ta].mean()),
            "over_ta_interval": interval(drawn[place] - drawn[ta]).tolist(),
        }
        for place, name in enumerate(METHODS)
    ]
    return {"zoo": store.run(runs[0]).spec.zoo.name, "runs": list(runs), "tasks": list(tasks), "rows": rows}

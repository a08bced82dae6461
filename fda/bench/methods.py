"""A table of merging methods on a zoo, over several seeds, with confidence intervals, seconds and peak memory.

Its runs are ordinary runs of the store, so the pages show them; a request whose run is finished is not carried out again.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fda.analysis.scores import AVERAGE, Scores
from fda.errors import UserError
from fda.merging.registry import method
from fda.report.comparison import Results, results
from fda.requests.runs import make_spec
from fda.settings import ConstructSettings
from fda.store.spec import RunSpec
from fda.store.store import Store

BASELINE, CEILING = "ta", "distill"  # between them lies the gap that FDA closes


def bench_methods(
    zoo: str,
    *,
    methods: Sequence[str],
    construct: ConstructSettings,
    carry_out: Callable[[RunSpec], str],
    seeds: Sequence[int] = (0, 1, 2),
    adaptation: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """One run a seed, by `carry_out` unless it was finished before; then `summary`, with the seeds.

    `carry_out`: spec → id of its finished run. Methods that no seed changes are in the first run alone. UserError if a
    method fails.
    """
    store, runs = Store(), []
    for seed in seeds:
        asked = [name for name in methods if not runs or has_seed(name)]
        if not asked:
            break
        anchored = any(method(name).needs == "anchors" for name in asked)
        spec = make_spec(
            zoo,
            construct=construct.model_copy(update={"seed": seed}) if anchored else None,
            methods=asked,
            adaptation=adaptation,
            device=device,
            seed=seed,
        )
        runs.append(_finished(store, spec) or carry_out(spec))
    return summary(store, runs) | {"seeds": list(seeds)}


def has_seed(name: str) -> bool:
    """Whether a method's result depends on the seed of its run: by anchors, drawn inputs or chance of its own."""
    one = method(name)
    return one.needs != "nothing" or "seed" in one.defaults


def summary(store: Store, runs: Sequence[str]) -> dict[str, Any]:
    """A row for each method, highest average first; scores are means over the runs that have the method, 0..1.

    `tasks`, `average` with its 95 % `interval` from resampling the test samples within each task, alike for all methods and
    runs; `averages`, one a run, show the spread over seeds; `over_baseline`, `over_start` (FDA's start) with their paired
    intervals; `closed_gap` = (average − ta) / (distill − ta), None where distill is not above ta; mean `seconds` of merging,
    adaptation included, and of constructing its anchors, and the largest `peak_bytes`. UserError for a method that failed.
    """
    run_results = [results(store, store.run(run)) for run in runs]
    for run, one in zip(runs, run_results, strict=True):
        if one.failed or one.missing:
            reasons = [f"{name}: {reason}" for name, reason in one.failed.items()] or [f"no {one.missing[0]}"]
            raise UserError(f"run {run} lacks a method ({reasons[0]}): `python -m fda runs show {run}` says more.")
    scores = mean_scores([one.scores for one in run_results])
    rows = [_row(name, scores, run_results) for name in sorted(scores.methods, key=lambda name: -scores.of(name))]
    return {"zoo": store.run(runs[0]).spec.zoo.name, "runs": list(runs), "tasks": list(scores.tasks), "rows": rows}


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """The mean over the runs that have a method, of its scores and of their resampled values."""
    methods = tuple(dict.fromkeys(name for one in scores for name in one.methods))
    of = {name: [(one, one.methods.index(name)) for one in scores if name in one.methods] for name in methods}
    return Scores(
        methods,
        scores[0].tasks,
        np.stack([np.mean([one.values[row] for one, row in of[name]], axis=0) for name in methods]),
        np.stack([np.mean([one.draws[row] for one, row in of[name]], axis=0) for name in methods]),
    )


def _row(name: str, scores: Scores, run_results: Sequence[Results]) -> dict[str, Any]:
    having = [one for one in run_results if name in one.methods]
    row: dict[str, Any] = {
        "method": name,
        "tasks": {task: scores.of(name, task) for task in scores.tasks},
        "average": scores.of(name),
        "averages": [one.scores.of(name) for one in having],
        "interval": list(scores.interval_of(name)),
        "over_baseline": _difference(scores, name, BASELINE),
        "over_start": _difference(scores, name, method(name).start),
        "closed_gap": None,
        "seconds": _known(np.mean, [one.costs[name].seconds for one in having]),
        "anchors_seconds": _known(np.mean, [one.costs[name].anchors_seconds for one in having]),
        "peak_bytes": _known(max, [one.costs[name].peak_bytes for one in having]),
    }
    if {BASELINE, CEILING} <= set(scores.methods) and (gap := scores.of(CEILING) - scores.of(BASELINE)) > 0:
        row["closed_gap"] = (scores.of(name) - scores.of(BASELINE)) / gap
    return row


def _difference(scores: Scores, name: str, other: str | None) -> list[float] | None:
    """[average − the other's, low, high]; None where the other was not scored."""
    if other is None or other not in scores.methods:
        return None
    difference = scores.minus(other)
    return [difference.of(name, AVERAGE), *difference.interval_of(name)]


def _known(of: Callable[[list[float]], Any], values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(of(known)) if known else None


def _finished(store: Store, spec: RunSpec) -> str | None:
    """A finished run of the same request."""
    return next((run.run_id for run in store.runs(states=("done",)) if run.spec == spec), None)

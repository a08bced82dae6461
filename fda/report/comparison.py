"""What the Compare page knows of a run: its methods, their scores with intervals, what they read and cost.

Reads the store and the predictions in the run's folder. Tables are in `comparison_tables.py`, pictures in `fda.figures`.
Imports no streamlit.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fda.analysis.intervals import resampled_scores
from fda.analysis.scores import Scores
from fda.errors import UserError
from fda.figures.cost import Cost
from fda.figures.kinds import STYLES, Kind
from fda.figures.radar import MOST_METHODS
from fda.figures.sweep import Sweep
from fda.merging.registry import METHODS
from fda.report.cited import Cited, cited
from fda.store.predictions import predictions_file, score_sums
from fda.store.records import MethodResult, Run
from fda.store.store import Score, Store
from fda.tasks.metrics import METRICS

ALWAYS = ("pretrained", "individual")  # between them everything else lies: no filter removes them
BASELINES = ("ta", "average", "pretrained")
NOT_SETTINGS = (
    "selection",
    "sweep",
    "inputs",
    "anchors_seconds",
    "perplexity",
    "labels",
    "samples",
)  # these have places of their own
MARK = "†"  # follows the name of a method that reads real inputs, wherever no heading says so


@dataclass(frozen=True)
class Results:
    """`scores`: of the methods that finished, by what they read and then in the registry's order.

    `failed`: method → sentence. `metric`: what the scores are, in words. `count`: samples of `split` that were scored.
    """

    scores: Scores
    settings: dict[str, dict[str, Any]]
    kinds: dict[str, Kind]
    costs: dict[str, Cost]
    failed: dict[str, str]
    missing: list[str]
    split: str
    count: int
    metric: str

    @property
    def methods(self) -> tuple[str, ...]:
        return self.scores.methods

    @cached_property
    def normalised(self) -> Scores | None:
        """The scores divided by the individual models', task by task; None until those are there."""
        return self.scores.normalised("individual") if "individual" in self.methods else None

    @property
    def known_intervals(self) -> bool:
        """Whether it is known of any score how sure it is."""
        return bool(np.isfinite(self.scores.draws).any())

    @cached_property
    def sweeps(self) -> dict[str, Sweep]:
        """The sweeps of the methods whose coefficient was chosen on the validation split."""
        found = {method: own for method, own in self.settings.items() if "sweep" in own}
        return {
            method: Sweep(**own["sweep"], chosen=own[own["sweep"]["hyperparameter"]]) for method, own in found.items()
        }

    @property
    def data_notes(self) -> list[str]:
        """What is to be known of labels and samples behind the scores, a sentence each: they are the same for all methods."""
        notes = (
            f"{task}: {note}"
            for key in ("labels", "samples")
            for own in self.settings.values()
            for task, note in own.get(key, {}).items()
        )
        return list(dict.fromkeys(notes))

    def chosen(self, methods: Sequence[str], kinds: Sequence[Kind]) -> list[str]:
        """The methods that a filter leaves: those named (none: all) of the kinds named (none: all), and the references."""
        return [
            method
            for method in self.methods
            if method in ALWAYS
            or ((not methods or method in methods) and (not kinds or self.kinds[method] in kinds))
        ]  # fmt: skip


def results(store: Store, run: Run) -> Results:
    """What the run has so far. UserError if it is gone."""
    found, all_scores = store.results(run.run_id)
    tasks = run.spec.tasks
    values: dict[str, dict[str, float]] = {}
    for score in all_scores:
        values.setdefault(score.method, {})[score.task] = score.value
    done = {
        one.method: one for one in found if one.state == "done" and all(t in values.get(one.method, {}) for t in tasks)
    }
    kinds = {method: kind_of(method, one.settings) for method, one in done.items()}
    methods = sorted(done, key=lambda method: (list(STYLES).index(kinds[method]), _place(method)))
    metrics = {score.metric for score in all_scores}
    scores = Scores(
        tuple(methods),
        tasks,
        np.array([[values[method][task] for task in tasks] for method in methods]).reshape(len(methods), len(tasks)),
        _draws(store.run_dir(run.run_id), tuple(methods), tasks),
    )
    there = {one.method for one in found}
    return Results(
        scores=scores,
        settings={method: done[method].settings for method in methods},
        kinds={method: kinds[method] for method in methods},
        costs={method: _cost(done[method]) for method in methods},
        failed={one.method: one.message or "it gave no reason" for one in found if one.state == "failed"},
        missing=[name for name in run.spec.methods if name not in there],
        split=", ".join(sorted({score.split for score in all_scores})),
        count=_count(all_scores, methods),
        metric=_metric_title(metrics),
    )


def kind_of(method: str, settings: Mapping[str, Any] | None = None) -> Kind:
    """What a method reads. Of one that the registry has no more, by what its row says."""
    if method in ALWAYS:
        return "reference"
    if method in METHODS:
        return {"nothing": "weights", "anchors": "anchors"}.get(METHODS[method].needs, "inputs")
    if "inputs" in (settings or {}):
        return "inputs"
    return "anchors" if method.startswith("fda:") else "weights"


def needs_text(method: str, settings: Mapping[str, Any]) -> str:
    """`nothing`, `anchors`, `real inputs (train)`."""
    kind = kind_of(method, settings)
    if kind != "inputs":
        return "anchors" if kind == "anchors" else "nothing"
    labels = method in METHODS and METHODS[method].needs == "labels"
    split = settings.get("inputs")
    return ("real inputs and labels" if labels else "real inputs") + (f" ({split})" if split else "")


def titles(methods: Sequence[str]) -> dict[str, str]:
    return {name: METHODS[name].title if name in METHODS else name for name in methods}


def marked_titles(kinds: Mapping[str, Kind]) -> dict[str, str]:
    """Titles, with a mark on those that read real inputs."""
    return {
        name: title + (f" {MARK}" if kinds[name] == "inputs" else "") for name, title in titles(list(kinds)).items()
    }


def default_baseline(methods: Sequence[str]) -> str | None:
    return next((name for name in BASELINES if name in methods), next(iter(methods), None))


def settings_text(settings: Mapping[str, Any]) -> str:
    """`scale 0.3, steps 300`; what has a column or a figure of its own is left out."""
    shown = {name: value for name, value in settings.items() if name not in NOT_SETTINGS}
    return ", ".join(f"{n} {v:g}" if isinstance(v, float) else f"{n} {v}" for n, v in shown.items()) or "none"


def for_radar(scores: Scores, baseline: str, *, picked: bool) -> list[str]:
    """What a radar shows: all, if they are few or picked by hand; else the references, the baseline and the best."""
    if picked or len(scores.methods) <= MOST_METHODS:
        return list(scores.methods)
    kept = [method for method in scores.methods if method in (*ALWAYS, baseline)]
    others = sorted((method for method in scores.methods if method not in kept), key=scores.of, reverse=True)
    kept += others[: MOST_METHODS - len(kept)]
    return [method for method in scores.methods if method in kept]


def cited_for(store: Store, run: Run) -> tuple[Cited, dict[str, float]] | None:
    """What others report for the run's zoo, and their averages by method; None if the zoo names nothing.

    Of two numbers that differ by the anchors' initialisation, the one that is the run's; None too if nobody knows how
    published anchors began. UserError for an unknown key.
    """
    if run.spec.zoo.cited is None:
        return None
    source = cited(run.spec.zoo.cited)
    made = run.spec
    if made.construction is None and made.anchors_run is not None:
        with suppress(UserError):  # deleted meanwhile
            made = store.run(made.anchors_run).spec
    if "init" in made.unknown:
        return None
    return source, source.averages(made.construction.init if made.construction else "weight")


def _place(method: str) -> int:
    """In the registry's order; what the registry has no more comes last."""
    order = list(METHODS)
    return order.index(method) if method in order else len(order)


def _cost(result: MethodResult) -> Cost:
    return Cost(result.seconds, result.peak_bytes, result.settings.get("anchors_seconds"))


def _metric_title(metrics: set[str]) -> str:
    """What the scores are, in words: the one metric of all tasks, else `score`."""
    if len(metrics) > 1:
        return "score"
    name = next(iter(metrics), "accuracy")
    return METRICS[name].title if name in METRICS else name


def _count(scores: Sequence[Score], methods: Sequence[str]) -> int:
    return sum(score.count for score in scores if methods and score.method == methods[0])


def _no_draws(methods: Sequence[str], tasks: Sequence[str]) -> np.ndarray:
    return np.full((len(methods), len(tasks), 1), math.nan)


def _draws(folder: Path, methods: tuple[str, ...], tasks: tuple[str, ...]) -> np.ndarray:
    """(methods, tasks, resamples); NaN for methods whose predictions are not there (older runs kept none)."""
    stamps = {method: _stamp(predictions_file(folder, method)) for method in methods}
    kept = tuple(method for method in methods if stamps[method])
    found = _resampled(folder, kept, tasks, tuple(stamps[method] for method in kept)) if kept else None
    if found is None:
        return _no_draws(methods, tasks)
    draws = np.full((len(methods), *found.shape[1:]), math.nan)
    draws[[methods.index(method) for method in kept]] = found
    return draws


def _stamp(path: Path) -> int:
    """When the file was written, 0 if it is not there: a run that goes on writes others, and this one never again."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=4)  # a live page asks every other second
def _resampled(
    folder: Path, methods: tuple[str, ...], tasks: tuple[str, ...], stamps: tuple[int, ...]
) -> np.ndarray | None:
    """None unless all methods answered the same samples of every task."""
    sums = [score_sums(folder, methods, task) for task in tasks]
    if any(own is None for own in sums):
        return None
    return resampled_scores([(own, None if own.dtype == bool else METRICS[name].score) for name, own in sums])

"""The results of a comparing run: its methods, their scores with intervals, what they read and what they cost.

Reads the store and the predictions in the run's folder. `comparison_tables.py` tabulates them, `comparison_figures.py` draws
them. Imports no streamlit.
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
from fda.merging.registry import METHODS, rank
from fda.report.cited import Cited, cited
from fda.store.predictions import predictions_file, score_sums
from fda.store.records import MethodResult, Run
from fda.store.store import Score, Store
from fda.tasks.metrics import METRICS

ALWAYS = ("pretrained", "individual")  # the lower and upper reference: no filter removes them
NOT_SETTINGS = (
    "selection",
    "sweep",
    "inputs",
    "anchors_seconds",
    "perplexity",
    "labels",
    "samples",
)  # shown elsewhere
MARK = "†"  # marks a method that reads real inputs where no heading says so


@dataclass(frozen=True)
class Results:
    """`scores`: of the finished methods, sorted by what they read and then in the registry's order.

    `failed`: method → reason. `missing`: methods that have not begun. `metric`: name of the scores. `count`: scored samples
    of `split`.
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
        """The scores divided by the individual models', task by task; None until those are scored."""
        return self.scores.normalised("individual") if "individual" in self.methods else None

    @property
    def known_intervals(self) -> bool:
        """Whether any score has an interval."""
        return bool(np.isfinite(self.scores.draws).any())

    @cached_property
    def sweeps(self) -> dict[str, Sweep]:
        """The sweeps of the methods whose coefficient was chosen on the validation split."""
        return {
            method: Sweep(**settings["sweep"], chosen=settings[settings["sweep"]["hyperparameter"]])
            for method, settings in self.settings.items()
            if "sweep" in settings
        }

    @property
    def data_notes(self) -> list[str]:
        """Notes on the labels and samples behind the scores, one sentence each; all methods share them."""
        notes = (
            f"{task}: {note}"
            for key in ("labels", "samples")
            for settings in self.settings.values()
            for task, note in settings.get(key, {}).items()
        )
        return list(dict.fromkeys(notes))

    def chosen(self, methods: Sequence[str], kinds: Sequence[Kind]) -> list[str]:
        """The references, and the methods that match a filter; empty `methods` or `kinds` match all."""
        return [
            method
            for method in self.methods
            if method in ALWAYS
            or ((not methods or method in methods) and (not kinds or self.kinds[method] in kinds))
        ]  # fmt: skip


def results(store: Store, run: Run) -> Results:
    """The results so far. UserError if the run is deleted."""
    rows, all_scores = store.results(run.run_id)
    tasks = run.spec.tasks
    values: dict[str, dict[str, float]] = {}
    for score in all_scores:
        values.setdefault(score.method, {})[score.task] = score.value
    done = {
        row.method: row for row in rows if row.state == "done" and all(t in values.get(row.method, {}) for t in tasks)
    }
    kinds: dict[str, Kind] = {method: kind_of(method, row.settings) for method, row in done.items()}
    methods = sorted(done, key=lambda method: (list(STYLES).index(kinds[method]), rank(method)))
    metrics = {score.metric for score in all_scores}
    scores = Scores(
        tuple(methods),
        tasks,
        np.array([[values[method][task] for task in tasks] for method in methods]).reshape(len(methods), len(tasks)),
        _draws(store.run_dir(run.run_id), tuple(methods), tasks),
    )
    begun = {row.method for row in rows}
    return Results(
        scores=scores,
        settings={method: done[method].settings for method in methods},
        kinds={method: kinds[method] for method in methods},
        costs={method: _cost(done[method]) for method in methods},
        failed={row.method: row.message or "it gave no reason" for row in rows if row.state == "failed"},
        missing=[name for name in run.spec.methods if name not in begun],
        split=", ".join(sorted({score.split for score in all_scores})),
        count=_count(all_scores, methods),
        metric=_metric_title(metrics),
    )


def kind_of(method: str, settings: Mapping[str, Any] | None = None) -> Kind:
    """What a method reads. For a method that has left the registry, the settings of its row decide."""
    if method in ALWAYS:
        return "reference"
    if method in METHODS:
        needs = METHODS[method].needs
        return "weights" if needs == "nothing" else "anchors" if needs == "anchors" else "inputs"
    if "inputs" in (settings or {}):
        return "inputs"
    return "anchors" if method.startswith("fda:") else "weights"


def is_fda(method: str) -> bool:
    """Whether the method adapts a merged model on anchors."""
    return method in METHODS and METHODS[method].needs == "anchors" and METHODS[method].start is not None


def is_without_data(method: str, settings: Mapping[str, Any]) -> bool:
    """Whether the method reads checkpoints alone. One whose coefficient was chosen on labels does not."""
    return kind_of(method, settings) == "weights" and settings.get("selection") != "validation"


def needs_text(method: str, settings: Mapping[str, Any]) -> str:
    """What a method reads, in words: `nothing`, `anchors` or `real inputs (train)`."""
    kind = kind_of(method, settings)
    if kind != "inputs":
        return "anchors" if kind == "anchors" else "nothing"
    labels = method in METHODS and METHODS[method].needs == "labels"
    split = settings.get("inputs")
    return ("real inputs and labels" if labels else "real inputs") + (f" ({split})" if split else "")


def titles(methods: Sequence[str]) -> dict[str, str]:
    return {name: METHODS[name].title if name in METHODS else name for name in methods}


def marked_titles(kinds: Mapping[str, Kind]) -> dict[str, str]:
    """Method → title, with `MARK` after methods that read real inputs."""
    return {
        name: title + (f" {MARK}" if kinds[name] == "inputs" else "") for name, title in titles(list(kinds)).items()
    }


def default_baseline(comparison: Results) -> str | None:
    """The best method without data, by average over the tasks; else the first method."""
    without_data = [method for method in comparison.methods if is_without_data(method, comparison.settings[method])]
    return max(without_data, key=comparison.scores.of) if without_data else next(iter(comparison.methods), None)


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings as `scale 0.3, steps 300`, without those that have a column or figure."""
    shown = {name: value for name, value in settings.items() if name not in NOT_SETTINGS}
    return ", ".join(f"{n} {v:g}" if isinstance(v, float) else f"{n} {v}" for n, v in shown.items()) or "none"


def for_radar(scores: Scores, baseline: str, *, picked: bool) -> list[str]:
    """The methods of the radar: all if they are few or `picked` by hand; else the references, the baseline and the best."""
    if picked or len(scores.methods) <= MOST_METHODS:
        return list(scores.methods)
    kept = [method for method in scores.methods if method in (*ALWAYS, baseline)]
    best_first = sorted((method for method in scores.methods if method not in kept), key=scores.of, reverse=True)
    kept += best_first[: MOST_METHODS - len(kept)]
    return [method for method in scores.methods if method in kept]


def cited_for(store: Store, run: Run) -> tuple[Cited, dict[str, float]] | None:
    """The published table for the run's zoo, and its averages by method; None if the zoo names none.

    If the table has several inits, the run's decides; None too if the init of published anchors is unknown. UserError for
    an unknown key.
    """
    if run.spec.zoo.cited is None:
        return None
    source = cited(run.spec.zoo.cited)
    spec = run.spec
    if spec.construction is None and spec.anchors_run is not None:
        with suppress(UserError):  # the run that constructed the anchors is deleted
            spec = store.run(spec.anchors_run).spec
    if "init" in spec.unknown:
        return None
    return source, source.averages(spec.construction.init if spec.construction else "weight")


def _cost(result: MethodResult) -> Cost:
    return Cost(result.seconds, result.peak_bytes, result.settings.get("anchors_seconds"))


def _metric_title(metrics: set[str]) -> str:
    """The name of the scores: the metric that all tasks share, else `score`."""
    if len(metrics) > 1:
        return "score"
    name = next(iter(metrics), "accuracy")
    return METRICS[name].title if name in METRICS else name


def _count(scores: Sequence[Score], methods: Sequence[str]) -> int:
    return sum(score.count for score in scores if methods and score.method == methods[0])


def _draws(folder: Path, methods: tuple[str, ...], tasks: tuple[str, ...]) -> np.ndarray:
    """(methods, tasks, resamples); NaN for methods without predictions, which older runs did not keep."""
    stamps = {method: _stamp(predictions_file(folder, method)) for method in methods}
    kept = tuple(method for method in methods if stamps[method])
    resampled = _resampled(folder, kept, tasks, tuple(stamps[method] for method in kept)) if kept else None
    if resampled is None:
        return np.full((len(methods), len(tasks), 1), math.nan)
    draws = np.full((len(methods), *resampled.shape[1:]), math.nan)
    draws[[methods.index(method) for method in kept]] = resampled
    return draws


def _stamp(path: Path) -> int:
    """Modification time of a file, 0 if it is missing; a part of the cache key."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=4)  # a live page calls it every two seconds
def _resampled(
    folder: Path, methods: tuple[str, ...], tasks: tuple[str, ...], stamps: tuple[int, ...]
) -> np.ndarray | None:
    """(methods, tasks, resamples); None unless all methods answered the same samples of every task."""
    sums = [score_sums(folder, methods, task) for task in tasks]
    known = [part for part in sums if part is not None]
    if len(known) < len(sums):
        return None
    return resampled_scores([(values, None if values.dtype == bool else METRICS[name].score) for name, values in known])

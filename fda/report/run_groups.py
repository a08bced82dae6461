"""Several runs side by side: runs that differ in their seed alone form a group, named by the settings that differ.

Imports neither streamlit nor torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fda.analysis.common_steps import Curve, on_common_x
from fda.measures import ANGLE_LOSS, SPECTRUM
from fda.merging.registry import rank
from fda.report.anchors import constructed_by, known_settings
from fda.report.runs_table import REFERENCES
from fda.store.records import Run
from fda.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

MOST_RUNS = 40
POINTS = 200  # of a curve
LEFT_OUT = ("preset", "seed")  # a preset changes no number itself; runs of a group differ in their seeds

Curves = tuple[np.ndarray, np.ndarray]  # (x (S,), a row per run (runs, S), NaN where a run has no value)


@dataclass(frozen=True)
class RunGroup:
    """Runs with the same settings except for the seed.

    `differing`: setting → value, of the settings in which the groups differ; `losses` over steps, and `spectrum` by index at
    the last step, are means over a run's units, None where no run recorded any. `averages`: method → the runs' average scores
    over all tasks, 0..1.
    """

    runs: tuple[Run, ...]
    differing: Mapping[str, str]
    losses: Curves | None
    spectrum: Curves | None
    averages: Mapping[str, tuple[float, ...]]

    @property
    def name(self) -> str:
        """What of its settings the other groups do not share, in words; the name of a run where it has no settings."""
        words = ", ".join(f"{name} {value}" for name, value in self.differing.items()) or self.runs[0].title
        if len(self.runs) == 1:
            return words
        seeds = len({run.spec.seed for run in self.runs})  # a run of anchors and its comparison share one
        return f"{words} ({seeds} seeds)" if seeds == len(self.runs) else f"{words} ({len(self.runs)} runs)"


def run_groups(store: Store, runs: Sequence[Run]) -> list[RunGroup]:
    """The groups of at most MOST_RUNS runs, in the order of the first run of each. UserError if a run is deleted meanwhile."""
    runs = runs[:MOST_RUNS]
    made_by = {run.run_id: constructed_by(store, run) for run in runs}
    settings = {run.run_id: _settings(run, made_by[run.run_id]) for run in runs}
    names = list(dict.fromkeys(name for one in settings.values() for name in one))
    differing = [name for name in names if len({one.get(name) for one in settings.values()}) > 1]
    grouped: dict[tuple, list[Run]] = {}
    for run in runs:
        grouped.setdefault(tuple(settings[run.run_id].get(name) for name in differing), []).append(run)
    averages = {run.run_id: store.averages(run.run_id).get(run.run_id, []) for run in runs}
    return [
        RunGroup(
            runs=tuple(members),
            differing={name: value for name, value in zip(differing, values, strict=True) if value is not None},
            losses=_rows([_losses(store, made_by[run.run_id]) for run in members]),
            spectrum=_rows([_spectrum(store, made_by[run.run_id]) for run in members]),
            averages=_averages(members, averages),
        )
        for values, members in grouped.items()
    ]


def settings_table(groups: Sequence[RunGroup]) -> "pd.DataFrame":
    """A row a group: its runs, only the settings that differ, its last loss and its best merged average over the tasks.

    Numbers of several seeds are "mean (least to most)".
    """
    import pandas as pd

    names = list(dict.fromkeys(name for group in groups for name in group.differing))
    return pd.DataFrame(
        {
            "runs": [", ".join(run.title for run in group.runs) for group in groups],
            **{name: [group.differing.get(name) for group in groups] for name in names},
            "seeds": [", ".join(str(run.spec.seed) for run in group.runs) for group in groups],
            "loss": [_mean_and_range(_last(group.losses), 1, ".3f") for group in groups],
            "best merge %": [_mean_and_range(_best(group.averages), 100, ".1f") for group in groups],
        }
    )


def scores_table(groups: Sequence[RunGroup]) -> "pd.DataFrame":
    """A row for each run and method: the name of its group, the method, its average score (0..1)."""
    import pandas as pd

    rows = [
        {"group": group.name, "method": method, "average": value}
        for group in groups
        for method, values in group.averages.items()
        for value in values
    ]
    return pd.DataFrame(rows, columns=["group", "method", "average"])


def _settings(run: Run, made_by: Run | None) -> dict[str, str]:
    """Every setting by name, as text, without the seed."""
    spec = run.spec
    settings: dict[str, Any] = {"zoo": spec.zoo.name}
    settings["tasks"] = "all" if spec.tasks == spec.zoo.task_names else ", ".join(spec.tasks)
    settings["blocks"] = ", ".join(map(str, spec.blocks)) or "all"
    if made_by is not None:
        made = known_settings(made_by.spec)
        settings |= {name.replace("_", " "): value for name, value in made.items() if name not in LEFT_OUT}
        if made.get("init") != "gauss":
            settings.pop("sigma", None)  # not read
    for method, values in spec.hyperparameters.items():
        settings |= {f"{method} {name}": value for name, value in values.items()}
    if spec.adaptation is not None:
        settings |= {f"adapt {name.replace('_', ' ')}": value for name, value in spec.adaptation.model_dump().items()}
    return {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in settings.items()}


def _losses(store: Store, run: Run | None) -> Curve | None:
    """(steps, mean angle loss over the units that reached each)."""
    if run is None:
        return None
    series = store.scalars(run.run_id, ANGLE_LOSS.key, points=POINTS)
    return _mean([curve for curve in series.values() if len(curve[0])])


def _spectrum(store: Store, run: Run | None) -> Curve | None:
    """(index from 1, mean over the units of the singular values at their last step, each divided by its largest)."""
    if run is None:
        return None
    last = [values[-1] for _, values in store.snapshots(run.run_id, SPECTRUM.key).values() if len(values)]
    return _mean([(np.arange(1, len(values) + 1), values / max(float(values[0]), 1e-30)) for values in last])


def _mean(curves: Sequence[Curve]) -> Curve | None:
    rows = _rows(curves)
    return None if rows is None else (rows[0], np.nanmean(rows[1], 0))


def _rows(curves: Sequence[Curve | None]) -> Curves | None:
    """All curves on the union of their x; NaN beyond a curve's first and last x."""
    known = [curve for curve in curves if curve is not None]
    return on_common_x(known) if known else None


def _averages(
    runs: Sequence[Run], averages: Mapping[str, Sequence[tuple[str, float, int]]]
) -> dict[str, tuple[float, ...]]:
    scored: dict[str, list[float]] = {}
    for run in runs:
        for method, mean, count in averages.get(run.run_id, ()):
            if count == len(run.spec.tasks):
                scored.setdefault(method, []).append(mean)
    return {method: tuple(scored[method]) for method in sorted(scored, key=rank)}


def _best(averages: Mapping[str, tuple[float, ...]]) -> tuple[float, ...]:
    """The averages of the method with the highest mean, references apart."""
    merges = [values for method, values in averages.items() if method not in REFERENCES]
    return max(merges, key=np.mean, default=())


def _last(curves: Curves | None) -> list[float]:
    """Each run's last value."""
    return [] if curves is None else [float(row[np.isfinite(row)][-1]) for row in curves[1] if np.isfinite(row).any()]


def _mean_and_range(values: Sequence[float], factor: float, number: str) -> str:
    if not values:
        return "–"
    scaled = [factor * value for value in values]
    mean = f"{np.mean(scaled):{number}}"
    return mean if len(scaled) == 1 else f"{mean} ({min(scaled):{number}} to {max(scaled):{number}})"

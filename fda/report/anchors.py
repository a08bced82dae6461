"""Reads what the views of anchors show: runs with anchors, short names for them, and the records of one unit.

Imports no streamlit and no torch. `fda/ui/run/anchors_figures.py` draws the records, `anchors_tables.py` tabulates them.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from fda.errors import UserError
from fda.figures.anchors import Record
from fda.measures import (
    ANGLE_LOSS,
    ANGLES,
    COSINES,
    SCALAR_KEYS,
    SCALARS,
    SHARES,
    SIMILARITY,
    SIMILARITY_BY_SHARE,
    SPECTRUM,
)
from fda.settings import ConstructSettings
from fda.store.records import Run, UnitKey
from fda.store.spec import RunSpec
from fda.store.store import Store

MOST_BESIDE = 4  # runs overlaid on the reference: readers can tell five dashes apart
LOSS_POINTS = 300
SNAPSHOTS = (SPECTRUM.key, SIMILARITY_BY_SHARE.key, ANGLES.key)


@dataclass(frozen=True, eq=False)
class UnitRecord:
    """The records of one unit in one run. A measure is missing in older runs, for tasks without data, or early in a run.

    `snapshots` and `measures`: name → record. `cosines`: (S, tensors) in the order of `tensors`, or None.
    """

    run: str
    snapshots: Mapping[str, Record]
    measures: Mapping[str, Record]
    tensors: tuple[str, ...]
    cosines: Record | None

    @property
    def steps(self) -> list[int]:
        """Steps with a record other than the loss. The values of real data belong to no step."""
        excluded = {ANGLE_LOSS.key, *(measure.real_key for measure in SCALARS)}
        records = [
            *self.snapshots.values(),
            *(record for name, record in self.measures.items() if name not in excluded),
        ]
        return sorted({int(step) for record in records for step in record.steps})

    @property
    def width(self) -> int | None:
        """d as the length of a spectrum, which has at most n · tokens values; None without a spectrum."""
        spectrum = self.snapshots.get(SPECTRUM.key)
        return None if spectrum is None else spectrum.values.shape[1]

    def last(self, name: str) -> float | None:
        """The last value of a measure; None if there is none or it is not finite."""
        record = self.measures.get(name)
        return float(record.values[-1]) if record is not None and np.isfinite(record.values[-1]) else None


def constructs(runs: Iterable[Run]) -> list[Run]:
    """The runs that construct anchors."""
    return [run for run in runs if run.spec.construction is not None]


def constructed_by(store: Store, run: Run) -> Run | None:
    """The run whose anchors this one has or reads. None without anchors, and if that run is deleted."""
    if run.spec.construction is not None:
        return run
    with suppress(UserError):
        return store.run(run.spec.anchors_run) if run.spec.anchors_run is not None else None
    return None


def units_of(store: Store, run_id: str) -> list[UnitKey]:
    """The units for which the run has recorded something."""
    return [unit.key for unit in store.units(run_id, "construct") if unit.step > 0]


def read_unit(store: Store, run_id: str, name: str, task: str, block: int) -> UnitRecord:
    """The records of (task, block) in run `run_id`, which figures call `name`."""
    key, chosen = UnitKey("construct", task, block), {"names": [task], "blocks": [block]}
    snapshots, measures, columns = {}, {}, {}
    for kind in SNAPSHOTS:
        series = store.snapshots(run_id, kind, **chosen).get(key)
        if series is not None and (kind != SIMILARITY_BY_SHARE.key or series[1].shape[1] == len(SHARES)):
            snapshots[kind] = Record(name, *series)
    for measure in SCALAR_KEYS:
        if key in (series := store.scalars(run_id, measure, points=LOSS_POINTS, **chosen)):
            measures[measure] = Record(name, *series[key])
    for scalar in store.scalar_names(run_id):
        if scalar.startswith(COSINES.key) and key in (series := store.scalars(run_id, scalar, points=None, **chosen)):
            columns[scalar.removeprefix(COSINES.key)] = series[key]
    return UnitRecord(name, snapshots, measures, tuple(columns), _side_by_side(name, list(columns.values())))


def _side_by_side(name: str, columns: Sequence[tuple[np.ndarray, np.ndarray]]) -> Record | None:
    """Series (steps, values) as the columns of one record over the union of their steps; NaN marks missing values."""
    if not columns:
        return None
    steps = np.unique(np.concatenate([steps for steps, _ in columns]))
    values = np.full((len(steps), len(columns)), np.nan)
    for index, (series_steps, series) in enumerate(columns):
        values[np.searchsorted(steps, series_steps), index] = series
    return Record(name, steps, values)


def run_names(runs: Sequence[Run]) -> dict[str, str]:
    """Run id → a short name: the init of its anchors, the settings that differ among these runs, and the id's end if needed.

    Only part of the settings of published anchors is known, so they are not compared.
    """
    if len(runs) == 1:
        return {runs[0].run_id: init_of(runs[0])}
    parts = {run.run_id: _settings(run) for run in runs if run.spec.published is None}
    differing = [
        name
        for name in next(iter(parts.values()), ())
        if len({settings[name] for settings in parts.values()}) > 1 and name not in ("init", "sigma")
    ]
    names = {
        run.run_id: ", ".join(
            [init_of(run), *(f"{_word(n)} {parts[run.run_id][n]}" for n in differing if run.run_id in parts)]
        )
        for run in runs
    }
    taken = list(names.values())
    return {run_id: f"{name} · {run_id[-4:]}" if taken.count(name) > 1 else name for run_id, name in names.items()}


def known_settings(spec: RunSpec) -> dict[str, Any]:
    """The settings that made a run's anchors. Of published anchors, those that are known; `unknown` for the others."""
    settings = _construction(spec).model_dump()
    if spec.published is None:
        return settings
    names = ("init", "sigma", "anchors", "tokens", "steps")
    known = {name: settings[name] for name in names if name != "sigma" or settings["init"] == "gauss"}
    return known | dict.fromkeys(spec.unknown, "unknown")


def init_of(run: Run) -> str:
    """How a run's anchors begin, such as `weight`; with `published` in front if others constructed them."""
    spec = run.spec
    if spec.published is None:
        return init_name(_construction(spec))
    if "init" in spec.unknown:
        return "published, init unknown"
    return f"published {'gauss σ unknown' if 'sigma' in spec.unknown else init_name(_construction(spec))}"


def init_name(settings: ConstructSettings) -> str:
    """`weight`, or `gauss σ 0.01`."""
    return "weight" if settings.init == "weight" else f"gauss σ {settings.sigma:g}"


def finding(records: Sequence[UnitRecord], pinned: str, chance: float | None) -> str | None:
    """A sentence: similarity of the reference with real data, first and last, and the run with the highest. None without data.

    `chance` is k/d.
    """
    reference = next(record for record in records if record.run == pinned)
    course = reference.measures.get(SIMILARITY.key)
    if course is None or reference.last(SIMILARITY.key) is None:
        return None
    first, last = float(course.values[0]), float(course.values[-1])
    verb = "stays at" if abs(last - first) < 0.005 else "rises to" if last > first else "falls to"
    text = f"From {pinned}, similarity with real data begins at {first:.3f} and {verb} **{last:.3f}**"
    if len(course.values) == 1:  # published anchors are measured once
        text = f"Of {pinned}, similarity with real data is **{last:.3f}**"
    text += f" (chance {chance:.2f})" if chance is not None else ""
    values = {record.run: value for record in records if (value := record.last(SIMILARITY.key)) is not None}
    best = max(values, key=lambda run: values[run])
    if len(values) > 1:
        text += f"; the highest of the {len(values)} runs is {best} with **{values[best]:.3f}**"
    return f"{text}."


def lacking(records: Sequence[UnitRecord]) -> str | None:
    """A sentence that names the runs with missing measures; None if nothing is missing."""
    incomplete = [
        record.run for record in records if SIMILARITY_BY_SHARE.key not in record.snapshots or record.cosines is None
    ]
    if not incomplete:
        return None
    who = "This run" if len(records) == 1 else ", ".join(incomplete)
    return (
        f"{who} did not record every measure (an older version, a task without data, or no snapshot yet): "
        "what is there is shown; construct again for the rest."
    )


def _construction(spec: RunSpec) -> ConstructSettings:
    if spec.construction is None:
        raise ValueError("this run constructs no anchors")
    return spec.construction


def _settings(run: Run) -> dict[str, Any]:
    return _construction(run.spec).model_dump() | {"zoo": run.spec.zoo.name}


def _word(name: str) -> str:
    return name.replace("_", " ")

"""What the Anchors page reads of runs: which are shown and how they are named, and what they recorded of one unit.

Imports no streamlit and no torch. Drawing is in `anchors_figures.py`, tables in `anchors_tables.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

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

MOST_BESIDE = 4  # runs overlaid on the reference: five dashes can still be told apart
LOSS_POINTS = 300
SNAPSHOTS = (SPECTRUM.key, SIMILARITY_BY_SHARE.key, ANGLES.key)


@dataclass(frozen=True, eq=False)
class UnitRecord:
    """What one run recorded of one unit. Missing names: an older run, a task without data, or not yet.

    `snapshots` and `measures`: name → record. `cosines`: (S, tensors) in the order of `tensors`, or None.
    """

    run: str
    snapshots: Mapping[str, Record]
    measures: Mapping[str, Record]
    tensors: tuple[str, ...]
    cosines: Record | None

    @property
    def steps(self) -> list[int]:
        """The steps at which anything but the loss was recorded of the anchors; real data's numbers are of no step."""
        apart = {ANGLE_LOSS.key, *(measure.real_key for measure in SCALARS)}
        records = [*self.snapshots.values(), *(one for name, one in self.measures.items() if name not in apart)]
        return sorted({int(step) for record in records for step in record.steps})

    @property
    def width(self) -> int | None:
        """d, if the spectra tell it: n · tokens of them at most."""
        spectrum = self.snapshots.get(SPECTRUM.key)
        return None if spectrum is None else spectrum.values.shape[1]

    def last(self, name: str) -> float | None:
        """The last value of a measure, if there is one and it is a number."""
        record = self.measures.get(name)
        return float(record.values[-1]) if record is not None and np.isfinite(record.values[-1]) else None


def constructs(runs: Iterable[Run]) -> list[Run]:
    """Those that construct anchors."""
    return [run for run in runs if run.spec.construction is not None]


def units_of(store: Store, run_id: str) -> list[UnitKey]:
    """The units of which the run has recorded something."""
    return [unit.key for unit in store.units(run_id, "construct") if unit.step > 0]


def read_unit(store: Store, run_id: str, name: str, task: str, block: int) -> UnitRecord:
    """What run `run_id`, to be called `name`, recorded of (task, block)."""
    key, chosen = UnitKey("construct", task, block), {"names": [task], "blocks": [block]}
    snapshots, measures, columns = {}, {}, {}
    for kind in SNAPSHOTS:
        found = store.snapshots(run_id, kind, **chosen).get(key)
        if found is not None and (kind != SIMILARITY_BY_SHARE.key or found[1].shape[1] == len(SHARES)):
            snapshots[kind] = Record(name, *found)
    for measure in SCALAR_KEYS:
        if key in (found := store.scalars(run_id, measure, points=LOSS_POINTS, **chosen)):
            measures[measure] = Record(name, *found[key])
    for scalar in store.scalar_names(run_id):
        if scalar.startswith(COSINES.key) and key in (found := store.scalars(run_id, scalar, points=None, **chosen)):
            columns[scalar.removeprefix(COSINES.key)] = found[key]
    return UnitRecord(name, snapshots, measures, tuple(columns), _side_by_side(name, list(columns.values())))


def _side_by_side(name: str, columns: Sequence[tuple[np.ndarray, np.ndarray]]) -> Record | None:
    """Series as the columns of one record, at the steps of any; NaN where one has no value."""
    if not columns:
        return None
    steps = np.unique(np.concatenate([steps for steps, _ in columns]))
    values = np.full((len(steps), len(columns)), np.nan)
    for place, (own, series) in enumerate(columns):
        values[np.searchsorted(steps, own), place] = series
    return Record(name, steps, values)


def run_names(runs: Sequence[Run]) -> dict[str, str]:
    """Run id → a short name: the start of its anchors and whatever else differs among these runs; the id if nothing does.

    How published anchors were constructed is known in part only: their settings are not held against others'.
    """
    if len(runs) == 1:
        return {runs[0].run_id: start_of(runs[0])}
    parts = {run.run_id: _settings(run) for run in runs if run.spec.published is None}
    differing = [
        name
        for name in next(iter(parts.values()), ())
        if len({own[name] for own in parts.values()}) > 1 and name not in ("init", "sigma")
    ]
    names = {
        run.run_id: ", ".join(
            [start_of(run), *(f"{_word(n)} {parts[run.run_id][n]}" for n in differing if run.run_id in parts)]
        )
        for run in runs
    }
    taken = list(names.values())
    return {run_id: f"{name} · {run_id[-4:]}" if taken.count(name) > 1 else name for run_id, name in names.items()}


def known_settings(spec: RunSpec) -> dict[str, object]:
    """How the anchors of a constructing run were made; of published ones what is told of them, and `unknown` for the rest."""
    settings = spec.construction.model_dump()
    if spec.published is None:
        return settings
    names = ("init", "sigma", "anchors", "tokens", "steps")
    told = {name: settings[name] for name in names if name != "sigma" or settings["init"] == "gauss"}
    return told | dict.fromkeys(spec.unknown, "unknown")


def start_of(run: Run) -> str:
    """The start of a run's anchors; with `published` before it where others constructed them."""
    spec = run.spec
    if spec.published is None:
        return start_name(spec.construction)
    if "init" in spec.unknown:
        return "published, start unknown"
    return f"published {'gauss σ unknown' if 'sigma' in spec.unknown else start_name(spec.construction)}"


def start_name(settings: ConstructSettings) -> str:
    """`weight`, or `gauss σ 0.01`."""
    return "weight" if settings.init == "weight" else f"gauss σ {settings.sigma:g}"


def finding(records: Sequence[UnitRecord], pinned: str, chance: float | None) -> str | None:
    """In a sentence: how the reference's space came to lie to real data, and which run comes closest. None without numbers.

    `chance` is k/d.
    """
    own = next(record for record in records if record.run == pinned)
    course = own.measures.get(SIMILARITY.key)
    if course is None or own.last(SIMILARITY.key) is None:
        return None
    first, last = float(course.values[0]), float(course.values[-1])
    verb = "stays at" if abs(last - first) < 0.005 else "rises to" if last > first else "falls to"
    told = f"From {pinned}, similarity with real data begins at {first:.3f} and {verb} **{last:.3f}**"
    if len(course.values) == 1:  # published anchors are seen once
        told = f"Of {pinned}, similarity with real data is **{last:.3f}**"
    told += f" (chance {chance:.2f})" if chance is not None else ""
    others = {one.run: value for one in records if (value := one.last(SIMILARITY.key)) is not None}
    best = max(others, key=others.get)
    if len(others) > 1:
        told += f"; the highest of the {len(others)} runs is {best} with **{others[best]:.3f}**"
    return f"{told}."


def lacking(records: Sequence[UnitRecord]) -> str | None:
    """One sentence on what an older run, or one without data, has not recorded; None if nothing is missing."""
    old = [one.run for one in records if SIMILARITY_BY_SHARE.key not in one.snapshots or one.cosines is None]
    if not old:
        return None
    who = "This run" if len(records) == 1 else ", ".join(old)
    return (
        f"{who} did not record every measure (an older version, a task without data, or no snapshot yet): "
        "what is there is shown; construct again for the rest."
    )


def _settings(run: Run) -> dict[str, object]:
    return run.spec.construction.model_dump() | {"zoo": run.spec.zoo.name}


def _word(name: str) -> str:
    return name.replace("_", " ")

"""Reads the numbers of the figures of a run's units, which `fda.measures` declares.

Each reader returns the positional and keyword arguments of a figure function, or None while there is nothing to show.
The keywords always include `theme` and `uirevision`; each reader's docstring names the others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fda.figures.curves import Series
from fda.figures.theme import Theme
from fda.measures import SHARES, SIMILARITY, SIMILARITY_BY_SHARE, SPECTRUM, TOP_SHARE, Figure, Measure, Reads
from fda.merging.registry import METHODS
from fda.store.records import Run, Unit, UnitKey
from fda.store.store import Store

POINTS = 300  # at most, per curve: more than its pixels on a phone
TOTAL_POINTS = 2_400  # at most, per figure: 12,000 would make an update 100 KB
FEWEST = 40  # per curve, however many curves there are
MEMORY_EVERY = 10.0  # seconds

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class UnitsView:
    """The reader's choices. An empty tuple means all."""

    tasks: tuple[str, ...]
    blocks: tuple[int, ...]
    smoothing: float
    unit: UnitKey | None  # shown in detail; None follows the unit at work
    theme: Theme
    share: float = TOP_SHARE  # k of the similarity, as a share of d
    merged: bool = False  # whether projection energy is that at the merged model, not at θ0
    means: bool = False  # whether curves are means of tasks, with their ranges
    step: int | None = None  # marked in every figure over steps
    figures: tuple[str, ...] | None = None  # names of the figures to draw; None: all


@dataclass(frozen=True)
class RunNumbers:
    """The numbers of one run in one view. `unit`: the unit shown in detail, if any has begun."""

    store: Store
    run: Run
    view: UnitsView
    units: Sequence[Unit]
    unit: UnitKey | None
    _read: dict[str, Mapping] = field(default_factory=dict, repr=False)

    def arguments(self, measure: Measure, figure: Figure) -> Arguments | None:
        """The arguments of `figure`, a figure of `measure`."""
        return READERS[figure.reads](self, measure, figure)

    def of_units(self, measure: Measure, figure: Figure) -> Arguments | None:
        """`units` of the measure's stages; `title`, `loss` (name of their loss), `titles` (method → words), `scores`, and the
        `chosen` unit."""
        units = [unit for unit in self.units if unit.key.stage in measure.stages]
        titles = {name: method.title for name, method in METHODS.items()} if "construct" not in measure.stages else {}
        scores = self._averages() if "evaluate" in measure.stages else {}
        words: dict[str, Any] = {"title": measure.heading, "loss": measure.unit, "titles": titles, "scores": scores}
        words["chosen"] = self.view.unit if "construct" in measure.stages else None
        return ((units,), words | self._run_words) if units else None

    def of_nodes(self, measure: Measure, figure: Figure) -> Arguments | None:
        """The units that a node of a cluster has or had."""
        units = [unit for unit in self.units if unit.node is not None]
        return ((units,), self._run_words) if units else None

    def of_series(self, measure: Measure, figure: Figure) -> Arguments | None:
        """`series` of the units shown; `tasks`, `chosen`, `means`, `title`, `y_title`, and, if declared, `smoothing` and `line`
        (real data)."""
        smoothing = {"smoothing": self.view.smoothing} if figure.smoothed else {}
        if self.view.merged and measure.merged:
            measure = measure.merged
        series = self._series(measure)
        words = {"title": measure.heading, "y_title": measure.unit} | self._curve_words
        if measure.real and series:
            ends = self.store.scalars(self.run.run_id, measure.real_key, points=1, **self._chosen).values()
            level = float(np.mean([values[-1] for _, values in ends])) if ends else None
            words["line"] = None if level is None else (level, f"held-out real data: {level:.2f}")
        return ((series,), words | smoothing | self._run_words) if series else None

    def of_similarity(self, measure: Measure, figure: Figure) -> Arguments | None:
        """`series` at k = the chosen share of d (older runs have 20 % only); `tasks`, `chance` = k/d."""
        share = self.view.share
        recorded = self.store.snapshots(self.run.run_id, SIMILARITY_BY_SHARE.key, **self._chosen)
        column = round(share * len(SHARES)) - 1
        series: Series = {key: (steps, values[:, column]) for key, (steps, values) in recorded.items()}
        if not recorded and share == TOP_SHARE:
            series = self.store.scalars(self.run.run_id, SIMILARITY.key, points=POINTS, **self._chosen)
        words = {"chance": self._chance(share)} | self._curve_words | self._run_words
        return ((series,), words) if series else None

    def of_tensors(self, measure: Measure, figure: Figure) -> Arguments | None:
        """Names, first values (None if there is one step only) and last values of the unit's tensors; `unit`."""
        if self.unit is None:
            return None
        series = {}
        for key in self.store.scalar_names(self.run.run_id):
            if key.startswith(measure.key):
                of_unit = self.store.scalars(
                    self.run.run_id, key, names=[self.unit.name], blocks=[self.unit.block], points=None
                )
                series |= {key.removeprefix(measure.key): values for _, values in of_unit.values()}
        first, last = (np.array([values[end] for values in series.values()]) for end in (0, -1))
        alone = all(len(values) == 1 for values in series.values())  # published anchors, or the first step
        return ((list(series), None if alone else first, last), self._unit_words(self.unit)) if series else None

    def of_snapshots(self, measure: Measure, figure: Figure) -> Arguments | None:
        """Steps (S,) and values (S, k) of the unit's snapshots; `unit`."""
        if self.unit is None or self.unit not in (snapshots := self._snapshots(measure.key)):
            return None
        return snapshots[self.unit], self._unit_words(self.unit)

    def of_memory(self, measure: Measure, figure: Figure) -> Arguments | None:
        """Readings (time in s, key, value) of the machine's memory."""
        readings = self.store.system(self.run.run_id)
        return ((_settled(readings) if self.run.active else readings,), self._run_words) if readings else None

    @property
    def _chosen(self) -> dict[str, Any]:
        return {"names": self.view.tasks or None, "blocks": self.view.blocks or None}

    def _averages(self) -> dict[str, float]:
        """Method → its average score over the run's tasks, for the methods that are scored on all of them."""
        averages = self.store.averages(self.run.run_id).get(self.run.run_id, ())
        return {method: mean for method, mean, count in averages if count == len(self.run.spec.tasks)}

    @property
    def _curve_words(self) -> dict[str, Any]:
        return {"tasks": self.run.spec.tasks, "chosen": self.view.unit, "means": self.view.means}

    @property
    def _run_words(self) -> dict[str, Any]:
        return {"theme": self.view.theme, "uirevision": self.run.run_id}

    def _unit_words(self, unit: UnitKey) -> dict[str, Any]:
        revision = f"{self.run.run_id} {unit.name} {unit.block}"
        return {"theme": self.view.theme, "uirevision": revision, "unit": f"{unit.name}, block {unit.block}"}

    def _series(self, measure: Measure) -> Series:
        construct = [unit for unit in self.units if unit.key.stage == "construct"]
        points = points_of_a_curve(construct, self.view)
        stage = measure.stages[0]
        return self.store.scalars(self.run.run_id, measure.key, stage=stage, points=points, **self._chosen)

    def _snapshots(self, kind: str) -> Mapping[UnitKey, tuple[np.ndarray, np.ndarray]]:
        """The unit's snapshots, read once."""
        if self.unit is None:
            return {}
        if kind not in self._read:
            chosen = {"names": [self.unit.name], "blocks": [self.unit.block]}
            self._read[kind] = self.store.snapshots(self.run.run_id, kind, **chosen)
        return self._read[kind]

    def _chance(self, share: float) -> float:
        """k/d, with k a whole number of directions and d the length of a spectrum; `share` itself without a spectrum."""
        for _, values in self._snapshots(SPECTRUM.key).values():
            return max(1, round(share * values.shape[1])) / values.shape[1]
        return share


READERS: Mapping[Reads, Callable[[RunNumbers, Measure, Figure], Arguments | None]] = {
    "units": RunNumbers.of_units,
    "nodes": RunNumbers.of_nodes,
    "series": RunNumbers.of_series,
    "similarity": RunNumbers.of_similarity,
    "tensors": RunNumbers.of_tensors,
    "snapshots": RunNumbers.of_snapshots,
    "memory": RunNumbers.of_memory,
}


def points_of_a_curve(construct: Sequence[Unit], view: UnitsView) -> int:
    """How many points each curve may have, so that an update stays small for any number of curves."""
    shown = [
        unit
        for unit in construct
        if (not view.tasks or unit.key.name in view.tasks) and (not view.blocks or unit.key.block in view.blocks)
    ]
    return max(FEWEST, min(POINTS, TOTAL_POINTS // max(1, len(shown))))


def _settled(readings: Sequence[tuple[float, str, float]]) -> Sequence[tuple[float, str, float]]:
    """Readings up to the last whole multiple of MEMORY_EVERY, so that the figure changes only that often; at first, all."""
    start, last = readings[0][0], readings[-1][0]
    until = last - (last - start) % MEMORY_EVERY
    return [reading for reading in readings if reading[0] <= until] if until > start else readings

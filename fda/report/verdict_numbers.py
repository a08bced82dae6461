"""What the verdict on a run is made from, and when a unit counts as converged. Imports no streamlit and no torch."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from fda.analysis.scores import AVERAGE, Scores
from fda.errors import UserError
from fda.measures import ANGLE_LOSS, COSINES
from fda.report.anchors import constructed_by
from fda.report.comparison import Results, is_fda, is_without_data, results
from fda.requests.helper_runs import newest_of, result, survey_spec
from fda.store.records import Run, UnitKey
from fda.store.store import Store

# A loss falls like a power of the step: on the demo by 25 to 34 % from half of the steps to all, whether those are 20 or 125.
# So the fall alone does not reveal a run that was cut. Loss times fall does, about what twice the steps would take off: 0.044
# to 0.069 after 20 or 30 steps, 0.018 to 0.032 after the 125 of preset `fast`.
FALLING = 0.04
# The fall is read before the learning rate goes to zero, where every loss looks flat.
HIGH_RATE = 0.5  # of the highest rate: half of a cosine, three quarters of a trapezoid, all of a constant rate
RISEN = 1.25  # last loss / lowest: the jitter of a constant rate reaches 1.17 (AdamW on the demo)
STUCK = 0.9  # lowest loss / first: that is no descent; units of the demo end at 0.1 to 0.15 of the first, after 20 steps at 0.3

Course = Literal["converged", "falling", "risen", "stuck"]


@dataclass(frozen=True)
class UnitNumbers:
    """A constructed unit whose losses were recorded.

    `loss`: of its anchors. `first`, `lowest`, `last`: of the recorded losses. `fall`: the share of the loss that was lost
    from step `half` to step `end`, the second half of the steps at a high learning rate. `weakest`: the tensor of lowest
    cosine with its task vector, and that cosine.
    """

    task: str
    block: int
    loss: float
    first: float
    lowest: float
    last: float
    fall: float
    half: int
    end: int
    weakest: tuple[str, float] | None = None

    @property
    def name(self) -> str:
        return f"{self.task} block {self.block}"

    @property
    def course(self) -> Course:
        if self.last >= RISEN * self.lowest:
            return "risen"
        if self.fall * self.loss >= FALLING:
            return "falling"
        return "stuck" if self.lowest > STUCK * self.first else "converged"


@dataclass(frozen=True)
class Gain:
    """The method `best` against the method `baseline`. `differences`: of `best`, on the same resampled samples, 0..1."""

    best: str
    baseline: str
    differences: Scores

    @property
    def has_interval(self) -> bool:
        return bool(np.isfinite(self.differences.intervals[0, -1]).all())

    def of(self, column: str = AVERAGE) -> float:
        return self.differences.of(self.best, column)

    def sign(self, column: str = AVERAGE) -> int:
        """1 if `best` is above, −1 if below, 0 if the interval includes zero. Without intervals every difference counts."""
        clear = not self.has_interval or self.differences.surely_not_zero[0, self.differences.columns.index(column)]
        return int(np.sign(self.of(column))) if clear else 0

    @property
    def lost(self) -> list[str]:
        """The tasks on which `best` is below, the worst first."""
        return sorted((task for task in self.differences.tasks if self.sign(task) < 0), key=self.of)


@dataclass(frozen=True)
class VerdictNumbers:
    """What a verdict is made from.

    `units`: the finished units with a curve, `unfinished` the number of the others that ought to have one; `steps` and
    `learning_rate` are those asked for, `anchors_run` the run that constructed them if it is another one. `scores`: of the
    finished methods, 0..1; `fda` and `without_data` name those among them. `norms`: task → length of its task vector in the
    blocks.
    """

    units: tuple[UnitNumbers, ...] = ()
    unfinished: int = 0
    steps: int = 0
    learning_rate: float = 0.0
    anchors_run: str | None = None
    scores: Scores | None = None
    fda: tuple[str, ...] = ()
    without_data: tuple[str, ...] = ()
    norms: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def gain(self) -> Gain | None:
        """The best FDA method against the best method without data; None unless there are both."""
        if self.scores is None or not self.fda or not self.without_data:
            return None
        return self.against(*(max(names, key=self.scores.of) for names in (self.fda, self.without_data)))

    def against(self, method: str, baseline: str) -> Gain:
        """Two of the scored methods. ValueError if none are."""
        if self.scores is None:
            raise ValueError("no method is scored")
        return Gain(method, baseline, self.scores.minus(baseline).only([method]))

    def with_course(self, course: Course) -> list[UnitNumbers]:
        return [unit for unit in self.units if unit.course == course]


def read_numbers(store: Store, run: Run) -> VerdictNumbers:
    """What the store has of a run, with the anchors that its methods read. UserError if the run is deleted."""
    anchors = constructed_by(store, run)
    if anchors is not None and anchors.spec.published is not None:
        anchors = None  # published anchors have no curve
    units, unfinished = _units(store, anchors, run) if anchors is not None else ((), 0)
    settings = anchors.spec.construction if anchors is not None else None
    scored = results(store, run) if run.spec.methods else None
    return VerdictNumbers(
        units=units,
        unfinished=unfinished,
        steps=settings.steps if settings else 0,
        learning_rate=settings.learning_rate if settings else 0.0,
        anchors_run=anchors.run_id if anchors is not None and anchors is not run else None,
        scores=scored.scores if scored else None,
        fda=tuple(filter(is_fda, scored.methods)) if scored else (),
        without_data=_without_data(scored) if scored else (),
        norms=_norms(store, run),
    )


def _units(store: Store, anchors: Run, run: Run) -> tuple[tuple[UnitNumbers, ...], int]:
    """The units of the tasks and blocks of `run` that have a curve, and the number of unfinished ones."""
    units = [
        unit
        for unit in store.units(anchors.run_id, "construct")
        if unit.key.name in run.spec.tasks and (not run.spec.blocks or unit.key.block in run.spec.blocks)
    ]
    losses = store.scalars(anchors.run_id, ANGLE_LOSS.key, points=None)
    rates = store.scalars(anchors.run_id, "learning_rate", points=None)
    weakest = _weakest(store, anchors.run_id)
    finished = tuple(
        curve_numbers(unit.key, unit.loss, losses[unit.key], rates.get(unit.key), weakest.get(unit.key))
        for unit in units
        if unit.state == "done" and unit.loss is not None and len(losses.get(unit.key, ((),))[0]) > 1
    )
    return finished, sum(unit.state != "done" for unit in units)


def curve_numbers(
    key: UnitKey,
    loss: float,
    losses: tuple[np.ndarray, np.ndarray],
    rates: tuple[np.ndarray, np.ndarray] | None = None,
    weakest: tuple[str, float] | None = None,
) -> UnitNumbers:
    """A unit's numbers from its series (steps, values) of at least two losses. Without `rates` the rate was constant."""
    steps, values = losses
    lowest = np.minimum.accumulate(values)
    high = len(values) if rates is None else int((rates[1] >= HIGH_RATE * rates[1].max()).sum())
    end = min(max(2, high), len(values)) - 1
    half = (end + 1) // 2 - 1
    return UnitNumbers(
        task=key.name,
        block=key.block,
        loss=loss,
        first=float(values[0]),
        lowest=float(lowest[-1]),
        last=float(values[-1]),
        fall=float(1 - lowest[end] / lowest[half]) if lowest[half] > 0 else 0.0,
        half=int(steps[half]),
        end=int(steps[end]),
        weakest=weakest,
    )


def _weakest(store: Store, run_id: str) -> dict[UnitKey, tuple[str, float]]:
    """Unit → the tensor whose last cosine is lowest, and that cosine."""
    weakest: dict[UnitKey, tuple[str, float]] = {}
    for name in store.scalar_names(run_id):
        if name.startswith(COSINES.key):
            for key, (_, values) in store.scalars(run_id, name, points=1).items():
                if key not in weakest or values[-1] < weakest[key][1]:
                    weakest[key] = name.removeprefix(COSINES.key), float(values[-1])
    return weakest


def _without_data(scored: Results) -> tuple[str, ...]:
    return tuple(name for name in scored.methods if is_without_data(name, scored.settings[name]))


def _norms(store: Store, run: Run) -> dict[str, float]:
    """Task → norm over the blocks, if the page Checkpoints has surveyed the zoo's files as they are now; else empty."""
    with suppress(UserError, OSError):
        survey = newest_of(store, survey_spec(Path(run.spec.zoo_path), run.spec.zoo))
        if survey is not None and survey.state == "done":
            norms = {
                task["name"]: float(np.linalg.norm(task["norms"])) for task in result(store, survey.run_id)["tasks"]
            }
            return {task: norms[task] for task in run.spec.tasks}
    return {}

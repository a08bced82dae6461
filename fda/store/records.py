"""The records that the store returns: one frozen dataclass each for a run, unit, file, score and method. No I/O."""

from dataclasses import dataclass
from typing import Any, Literal

from fda.errors import readable
from fda.measures import PhaseName, Stage
from fda.store.spec import RunSpec

State = Literal["queued", "running", "stopping", "done", "failed", "cancelled", "crashed"]
ACTIVE: tuple[State, ...] = ("queued", "running", "stopping")
ANALYSES = ("construct", "compare", "demo", "landscape")
HELPERS = (
    "export",
    "download",
    "survey",
    "preview",
    "estimate",
    "examples",
    "analysis",
)  # runs that pages start to answer a question
KINDS = (*ANALYSES, *HELPERS)
FINAL: tuple[State, ...] = ("done", "failed", "cancelled", "crashed")
UnitState = Literal["pending", "running", "done", "failed"]
UNCHANGED = "unchanged"  # first word of the message of a done unit without anchors: its task did not change the block


@dataclass(frozen=True)
class UnitKey:
    """Identifies a unit of a run; see the table `units` in `store.py`. Blocks count from 0; -1 means no block."""

    stage: Stage
    name: str
    block: int = -1


@dataclass(frozen=True)
class Unit:
    """Progress of one unit. `loss` is the best angle loss so far (construct) or the last adaptation loss (adapt)."""

    key: UnitKey
    state: UnitState
    step: int
    steps: int
    loss: float | None
    best_step: int | None
    seconds: float | None
    message: str | None
    node: str | None = None  # of the cluster that computes it; None: the run's own machine

    @property
    def unchanged(self) -> bool:
        """Whether the unit was skipped because its task did not change the block; it then has no anchors."""
        return self.state == "done" and (self.message or "").startswith(UNCHANGED)


@dataclass(frozen=True)
class PhaseRow:
    """One phase of a run's work. A run is in one phase at a time and may come back to it; it is over when `ended` is set.

    `estimate`: expected seconds of the whole phase, None if nothing is known; `here`: by what was
    measured on this machine. `done` of `total` pieces of work: 0 of 0 for a
    phase whose progress the units tell, or whose progress nothing tells. `seconds`: at work until `began`, when the present
    stretch began; None if the run is not in this phase.
    """

    phase: PhaseName
    estimate: float | None
    done: int
    total: int
    seconds: float
    began: float | None
    ended: float | None
    here: bool = True


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """A run's row without its spec.

    `queued`: when the run last entered the queue, at its launch or a resume. `device`: the device whose queue it waits in;
    `spec.device` is the requested one, which may be `auto`.
    """

    run_id: str
    kind: str
    state: State
    device: str
    message: str | None
    created: float  # seconds since the epoch, like all times here
    started: float | None
    finished: float | None
    heartbeat: float | None
    pid: int | None
    pid_started: float | None
    attempt: int  # 1 at launch, one more at each resume
    stop_requested: float | None
    units_done: int
    units_total: int
    queued: float | None = None
    queued_clock: str | None = None  # the same time as an `fda.clock` stamp
    name: str | None = None  # name, note and tags are given by people: see `description.py`
    note: str | None = None
    tags: tuple[str, ...] = ()
    started_by: str | None = None  # None: not known, as of runs from before it was recorded

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @property
    def title(self) -> str:
        """What lists call the run: its name, or its id if it has none."""
        return readable(self.name or "") or self.run_id


@dataclass(frozen=True, kw_only=True)
class Run(StoredRun):
    """One run, with its request."""

    spec: RunSpec


@dataclass(frozen=True, kw_only=True)
class UnreadableRun(StoredRun):
    """A run whose row cannot be read in full. `problem` says why. It can be deleted, but neither shown nor resumed."""

    problem: str


@dataclass(frozen=True)
class FileRecord:
    """A finished file as written: size in bytes, mtime in nanoseconds, SHA-256 in hexadecimal."""

    bytes: int
    modified: int
    sha256: str


@dataclass(frozen=True)
class Score:
    """One method on one task: `value` in 0..1 of `metric` over `count` samples of `split`."""

    method: str
    task: str
    split: str
    metric: str
    value: float
    count: int


@dataclass(frozen=True)
class MethodResult:
    """One method of a comparison: done with its cost, or failed with an error sentence.

    `settings`: hyperparameters, how they were selected and on which split.
    """

    method: str
    state: Literal["done", "failed"]
    settings: dict[str, Any]
    seconds: float | None
    peak_bytes: int | None
    message: str | None

"""What the store hands out: one frozen record a run, unit, score and method. Plain data, no I/O."""

from dataclasses import dataclass
from typing import Any, Literal

from fda.measures import Stage
from fda.store.spec import RunSpec

State = Literal["queued", "running", "stopping", "done", "failed", "cancelled", "crashed"]
ACTIVE: tuple[State, ...] = ("queued", "running", "stopping")
KINDS = ("construct", "compare", "demo", "landscape")
FINAL: tuple[State, ...] = ("done", "failed", "cancelled", "crashed")
UnitState = Literal["pending", "running", "done", "failed"]
UNCHANGED = "unchanged"  # begins the message of a unit that is done without anchors: its task left the block as it was


@dataclass(frozen=True)
class UnitKey:
    """Which unit of a run: see the table `units` in `store.py`. Blocks count from 0; -1 where there is none."""

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

    @property
    def unchanged(self) -> bool:
        """Whether it was skipped, because its task left the block as it is in the base: such a unit has no anchors."""
        return self.state == "done" and (self.message or "").startswith(UNCHANGED)


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """What the store knows of a run beside what it is asked to do.

    `created` is its first moment, `queued` the moment it last entered the queue (start or resume). `device` is the one in
    whose queue it waits; `spec.device` is what was asked for (perhaps `auto`).
    """

    run_id: str
    kind: str
    state: State
    device: str
    message: str | None
    created: float  # seconds since the epoch, as all times here
    started: float | None
    finished: float | None
    heartbeat: float | None
    pid: int | None
    pid_started: float | None
    attempt: int  # 1 at the first start, one more at each resume
    stop_requested: float | None
    units_done: int
    units_total: int
    queued: float | None = None
    queued_clock: str | None = None  # the same moment, as `fda.clock` stamps it

    @property
    def active(self) -> bool:
        return self.state in ACTIVE


@dataclass(frozen=True, kw_only=True)
class Run(StoredRun):
    """One run, with its request."""

    spec: RunSpec


@dataclass(frozen=True, kw_only=True)
class UnreadableRun(StoredRun):
    """A run whose row cannot be read in full, and why, in a sentence. It can be deleted, but neither shown nor resumed."""

    problem: str


@dataclass(frozen=True)
class FileRecord:
    """A finished file as it was written: its size, its time of change in nanoseconds, and its SHA-256 in hexadecimal."""

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
    """One method of a comparing run: done with its cost, or failed with its sentence.

    `settings` says what was fixed and what was chosen, and on which split.
    """

    method: str
    state: Literal["done", "failed"]
    settings: dict[str, Any]
    seconds: float | None
    peak_bytes: int | None
    message: str | None

"""The store: one SQLite file that says what every run is, how far it is, and every number it produced.

Written by workers, read by pages and the command line. Knows nothing of torch, processes or pictures; `jobs.py` starts
and stops processes, `worker.py` lives in them.

Tables (also readable by other tools):
  runs       one row a run: state, spec, device, process, heartbeat
  units      one row a unit of progress: (run, stage, name, block)
               stage `construct`: name = task,   block = number      (the grain of resume)
               stage `adapt`:     name = method, block = number      (adaptation of a block inside fda:… methods)
               stage `evaluate`:  name = method, block = -1          (merge and score one method)
  scalars    (unit, key, step) -> value        keys: angle_loss, learning_rate, adapt_loss, cosine/<tensor>, seconds, …
  snapshots  (unit, kind, step) -> float32 array   kinds: spectrum (singular values / largest), similarity (one value)
  scores     one row a (run, method, task): the metric on a split
  system     (run, time, key) -> value          device memory, utilisation
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Literal, Sequence

import numpy as np

from fda.runs.spec import RunSpec

State = Literal["queued", "running", "stopping", "done", "failed", "cancelled", "crashed"]
ACTIVE: tuple[State, ...] = ("queued", "running", "stopping")
FINAL: tuple[State, ...] = ("done", "failed", "cancelled", "crashed")
UnitState = Literal["pending", "running", "done", "failed"]
Stage = Literal["construct", "adapt", "evaluate"]


@dataclass(frozen=True)
class UnitKey:
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


@dataclass(frozen=True)
class Run:
    run_id: str
    kind: str
    state: State
    spec: RunSpec
    device: str
    message: str | None
    created: float  # seconds since the epoch, as all times here
    started: float | None
    finished: float | None
    heartbeat: float | None
    pid: int | None
    pid_started: float | None
    attempt: int
    stop_requested: float | None
    units_done: int
    units_total: int

    @property
    def active(self) -> bool:
        return self.state in ACTIVE


@dataclass(frozen=True)
class Score:
    """One method on one task. `value` in 0..1; `settings` says what was fixed and what was chosen, and on which split."""

    method: str
    task: str
    split: str
    metric: str
    value: float
    count: int  # samples scored


@dataclass(frozen=True)
class MethodResult:
    """One method of a comparing run: done with its cost, or failed with its sentence."""

    method: str
    state: Literal["done", "failed"]
    settings: dict[str, Any]
    seconds: float | None
    peak_bytes: int | None
    message: str | None


class Store:
    """All reads and writes of one FDA_HOME/fda.db. One short connection per call: safe from any thread or process."""

    def __init__(self, home: Path | None = None) -> None: ...

    # folders -----------------------------------------------------------------------------------------------------
    def run_dir(self, run_id: str) -> Path: ...

    # runs --------------------------------------------------------------------------------------------------------
    def create_run(self, spec: RunSpec) -> str: ...
    def run(self, run_id: str) -> Run: ...
    def runs(self, *, states: Sequence[State] | None = None, limit: int = 200) -> list[Run]: ...
    def delete_run(self, run_id: str) -> None: ...
    def queue_position(self, run_id: str) -> int | None: ...
    def version(self, run_id: str) -> int: ...

    # lifecycle, used by jobs and worker ---------------------------------------------------------------------------
    def set_state(self, run_id: str, state: State, message: str | None = None, *, only_from: Sequence[State] | None = None) -> bool: ...
    def claim_process(self, run_id: str, pid: int, pid_started: float) -> None: ...
    def beat(self, run_id: str, pid: int) -> None: ...
    def request_stop(self, run_id: str) -> None: ...
    def stop_requested(self, run_id: str) -> bool: ...
    def requeue(self, run_id: str) -> None: ...

    # units -------------------------------------------------------------------------------------------------------
    def add_units(self, run_id: str, keys: Iterable[tuple[UnitKey, int]]) -> None: ...
    def units(self, run_id: str, stage: Stage | None = None) -> list[Unit]: ...
    def reset_unit(self, run_id: str, key: UnitKey) -> None: ...
    def update_unit(self, run_id: str, key: UnitKey, **changes: Any) -> None: ...

    # numbers -----------------------------------------------------------------------------------------------------
    def add_scalars(self, run_id: str, key: UnitKey, rows: Iterable[tuple[str, int, float]]) -> None: ...
    def scalars(
        self, run_id: str, name: str, *, stage: Stage = "construct", names: Sequence[str] | None = None,
        blocks: Sequence[int] | None = None, after: int = -1, points: int | None = 1500,
    ) -> dict[UnitKey, tuple[np.ndarray, np.ndarray]]: ...
    def add_snapshot(self, run_id: str, key: UnitKey, step: int, kind: str, values: np.ndarray) -> None: ...
    def snapshots(
        self, run_id: str, kind: str, *, names: Sequence[str] | None = None, blocks: Sequence[int] | None = None,
    ) -> dict[UnitKey, tuple[np.ndarray, np.ndarray]]: ...
    def add_system(self, run_id: str, values: dict[str, float]) -> None: ...
    def system(self, run_id: str, *, last: int = 300) -> list[tuple[float, str, float]]: ...

    # results -----------------------------------------------------------------------------------------------------
    def add_result(self, run_id: str, result: MethodResult, scores: Sequence[Score] = ()) -> None: ...
    def results(self, run_id: str) -> tuple[list[MethodResult], list[Score]]: ...

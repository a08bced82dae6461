"""The store for a worker: no write fails because another process keeps the store locked.

A write that cannot be done at once waits in memory, in order, while the work goes on. It is tried again with every later write
and before any read. If the worker ends before that, its unwritten units are not done and begin anew on resume.
"""

import sqlite3
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from fda.cancel import Cancelled
from fda.measures import PhaseName
from fda.store.records import FileRecord, MethodResult, Score, UnitKey
from fda.store.refusals import StoreBusy
from fda.store.store import Store

LOCK_SECONDS = 2.0  # how long a write waits before it is put off
AGAIN_SECONDS = 1.0  # between two tries while writes wait
MOST = 20_000  # waiting writes; beyond this the work waits too


class PatientStore(Store):
    """For one worker and all its threads. `stop`: ends waiting (Cancelled)."""

    def __init__(self, store: Store, stop: threading.Event) -> None:
        super().__init__(store.home, patience=LOCK_SECONDS)
        self._plain, self._stop = Store(store.home, patience=LOCK_SECONDS), stop
        self._waiting: deque[Callable[[], None]] = deque()
        self._order = threading.RLock()
        self._next_try = 0.0

    def add_units(self, run_id: str, keys: Iterable[tuple[UnitKey, int]]) -> None:
        self._write(self._plain.add_units, run_id, list(keys))

    def reset_unit(self, run_id: str, key: UnitKey, **changes: Any) -> None:
        self._write(self._plain.reset_unit, run_id, key, **changes)

    def update_unit(self, run_id: str, key: UnitKey, **changes: Any) -> None:
        self._write(self._plain.update_unit, run_id, key, **changes)

    def plan_phases(
        self, run_id: str, estimates: Mapping[PhaseName, float | None], now: float, *, here: bool = True
    ) -> None:
        self._write(self._plain.plan_phases, run_id, dict(estimates), now, here=here)

    def update_phase(self, run_id: str, phase: PhaseName, **changes: Any) -> None:
        self._write(self._plain.update_phase, run_id, phase, **changes)

    def add_scalars(self, run_id: str, key: UnitKey, rows: Iterable[tuple[str, int, float]], **changes: Any) -> None:
        self._write(self._plain.add_scalars, run_id, key, list(rows), **changes)

    def add_snapshot(self, run_id: str, key: UnitKey, step: int, kind: str, values: np.ndarray) -> None:
        self._write(self._plain.add_snapshot, run_id, key, step, kind, np.array(values))

    def add_result(self, run_id: str, result: MethodResult, scores: Sequence[Score] = ()) -> None:
        self._write(self._plain.add_result, run_id, result, list(scores))

    def add_file(self, run_id: str, path: str, record: FileRecord) -> None:
        self._write(self._plain.add_file, run_id, path, record)

    def forget_file(self, run_id: str, path: str) -> None:
        self._write(self._plain.forget_file, run_id, path)

    def write_all(self) -> None:
        """Wait until everything is written. Cancelled if the run is stopped meanwhile."""
        while not self._try():
            if self._stop.wait(AGAIN_SECONDS):
                raise Cancelled

    def _snapshot(self) -> sqlite3.Connection:
        if self._waiting:
            self.write_all()
        while True:
            try:
                with self._readable_errors():
                    return super()._snapshot()
            except StoreBusy:
                if self._stop.wait(AGAIN_SECONDS):
                    raise Cancelled from None

    def _write(self, write: Callable[..., None], *arguments: Any, **named: Any) -> None:
        with self._order:
            self._waiting.append(partial(write, *arguments, **named))
            if time.monotonic() >= self._next_try:
                self._try()
        if len(self._waiting) > MOST:
            self.write_all()

    def _try(self) -> bool:
        """Do the waiting writes as far as the store allows; whether all are done."""
        with self._order:
            while self._waiting:
                try:
                    self._waiting[0]()
                except StoreBusy as busy:
                    if self._next_try == 0:
                        print(f"fda: {busy} The run goes on and writes its numbers later.", file=sys.stderr, flush=True)
                    self._next_try = time.monotonic() + AGAIN_SECONDS
                    self._plain.patience = 0.05
                    return False
                except BaseException:
                    self._waiting.popleft()
                    raise
                self._waiting.popleft()
            self._next_try, self._plain.patience = 0.0, LOCK_SECONDS
            return True

"""Counts the samples that each method's models have answered, and writes them to the store's units: progress within a task."""

import threading
import time

from fda.stages.scoring import ModelToScore
from fda.stages.work import Work
from fda.store.store import UnitKey

WRITE_SECONDS = 1.0  # between two writes to the store for one method


class SampleCounter:
    """Counts answered samples of one run, method by method; `add` is thread-safe."""

    def __init__(self, work: Work) -> None:
        self._work, self._lock = work, threading.Lock()
        self._samples: dict[str, int] = {}
        self._written: dict[str, float] = {}

    def begin(self, method: str) -> None:
        """Count from zero."""
        self._samples[method] = 0
        self._written.pop(method, None)

    def add(self, scored: ModelToScore, count: int) -> None:
        with self._lock:
            self._samples[scored.owner] += count
            now = time.monotonic()
            if now - self._written.get(scored.owner, -WRITE_SECONDS) >= WRITE_SECONDS:
                self._written[scored.owner] = now
                key = UnitKey("evaluate", scored.owner)
                self._work.store.update_unit(self._work.run_id, key, step=self._samples[scored.owner])

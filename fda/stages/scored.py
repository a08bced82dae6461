"""How many samples each method's models have answered, told to the store's units now and then: progress within a task."""

import threading
import time

from fda.stages.scoring import Candidate
from fda.stages.work import Work
from fda.store.store import UnitKey

TELL_SECONDS = 1.0  # between two writes to the store for one method


class Scored:
    """Counts of one run, method by method; `add` may be called by several threads."""

    def __init__(self, work: Work) -> None:
        self._work, self._lock = work, threading.Lock()
        self._samples: dict[str, int] = {}
        self._told: dict[str, float] = {}

    def begin(self, method: str) -> None:
        """Count from nothing."""
        self._samples[method] = 0
        self._told.pop(method, None)

    def add(self, one: Candidate, count: int) -> None:
        with self._lock:
            self._samples[one.owner] += count
            now = time.monotonic()
            if now - self._told.get(one.owner, -TELL_SECONDS) >= TELL_SECONDS:
                self._told[one.owner] = now
                key = UnitKey("evaluate", one.owner)
                self._work.store.update_unit(self._work.run_id, key, step=self._samples[one.owner])

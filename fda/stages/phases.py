"""Tells the store and the run's log which phase a run is in. Imports no torch: the first phase begins before torch is there.

`fda.requests.expected` knows what the phases are expected to take, `fda.report.phases` makes the time left from both.
"""

import contextlib
import threading
import time
from collections.abc import Iterator

from fda.errors import UserError
from fda.measures import PHASES, PhaseName
from fda.report.format import duration
from fda.requests.expected import ANEW, expected
from fda.requests.shipped import COSTS
from fda.store.store import Store


def begin_phases(store: Store, run_id: str) -> None:
    """Plan the phases of a run that begins or resumes, and begin the first."""
    spec = store.run(run_id).spec
    if spec.helper is not None:
        return
    now = time.time()
    before = {row.phase: row.seconds for row in store.phases(run_id)}
    plan = expected(store, spec)
    again = {phase: before.get(phase, 0.0) for phase in ANEW}
    seconds: dict[PhaseName, float | None] = {
        phase: None if one is None else one + again.get(phase, 0.0) for phase, one in plan.phases.items()
    }
    store.plan_phases(run_id, seconds, now, here=plan.here)
    store.update_phase(run_id, "start", began=now)
    note = "" if plan.seconds is None else f", expected to take {duration(plan.seconds)}"
    note += "" if plan.here else f" (measured elsewhere: {COSTS})"
    _log(store, run_id, f"run {run_id} begins{note}")


class PhaseTracker:
    """The phases of one run at work. Any thread may call; a run is in one phase at a time, the last one begun."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store, self._run_id, self._lock = store, run_id, threading.RLock()
        rows = store.phases(run_id)
        self._seconds: dict[PhaseName, float] = {row.phase: row.seconds for row in rows}
        self._done: dict[PhaseName, int] = {}
        self._told: set[PhaseName] = {row.phase for row in rows if row.began is not None}
        self._over: set[PhaseName] = set()
        self._inside: list[tuple[PhaseName, float]] = [
            (row.phase, row.began) for row in rows if row.began is not None
        ]  # with the moment of the present stretch; the last is the one at work

    @contextlib.contextmanager
    def during(self, phase: PhaseName) -> Iterator[None]:
        """The run is in `phase` while the body runs, and then in the phase that it was in before."""
        with self._lock:
            self._pause()
            self._inside.append((phase, time.time()))
            self._go_on()
        try:
            yield
        finally:
            with self._lock:
                self._pause()
                self._inside.pop()
                self._go_on()

    def count(self, phase: PhaseName, total: int) -> None:
        """Say of how many pieces of work a phase consists that no units tell."""
        with self._lock:
            self._done[phase] = 0
            self._store.update_phase(self._run_id, phase, done=0, total=total)

    def advance(self, phase: PhaseName) -> None:
        """One of the pieces that were counted is done."""
        with self._lock:
            self._done[phase] = self._done.get(phase, 0) + 1
            self._store.update_phase(self._run_id, phase, done=self._done[phase])

    def finish(self, *phases: PhaseName) -> None:
        """These phases are over. The log tells of each that took any time."""
        with self._lock:
            for phase in phases:
                if phase in self._over or phase not in self._seconds:  # over already, or never planned nor begun
                    continue
                self._over.add(phase)
                if phase in (name for name, _ in self._inside):  # only the first phase is open from outside
                    self._pause()
                    self._inside = [one for one in self._inside if one[0] != phase]
                    self._go_on()
                self._store.update_phase(self._run_id, phase, ended=time.time())
                if phase in self._told:
                    word, seconds = PHASES[phase][1], duration(self._seconds.get(phase, 0.0))
                    _log(self._store, self._run_id, f"{word}: done in {seconds}")

    def _pause(self) -> None:
        if self._inside:
            phase, began = self._inside[-1]
            self._seconds[phase] = self._seconds.get(phase, 0.0) + max(0.0, time.time() - began)
            self._store.update_phase(self._run_id, phase, seconds=self._seconds[phase], began=None)

    def _go_on(self) -> None:
        if self._inside:
            phase, now = self._inside[-1][0], time.time()
            self._inside[-1] = (phase, now)
            self._over.discard(phase)
            self._store.update_phase(self._run_id, phase, began=now, ended=None)
            if phase not in self._told:
                self._told.add(phase)
                _log(self._store, self._run_id, PHASES[phase][1])


def _log(store: Store, run_id: str, line: str) -> None:
    """Append a line to the run's log. Never fails."""
    moment = time.strftime("%Y-%m-%d %H:%M:%S")
    with contextlib.suppress(OSError, UserError), (store.run_dir(run_id) / "log.txt").open("a") as log:
        log.write(f"{moment} {line}\n")

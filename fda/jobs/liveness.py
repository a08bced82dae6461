"""The true state of a run that is stored as active, from its process and its heartbeat. Reads only.

Pages and commands read runs through `LiveStore`, which reports a run as crashed as soon as its worker is gone; the next action
corrects the row (`lifecycle.settle`). No wall times are compared: a process is identified by its id and its start
(`processes.py`), and a beat's age comes from a clock that nobody sets (`beats.py`, `clock.py`).
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from fda.clock import seconds_since
from fda.errors import UserError
from fda.jobs.beats import Beat, last_beat
from fda.processes import is_alive, is_suspended
from fda.store.records import HELPERS, Run, State, StoredRun, UnreadableRun
from fda.store.refusals import LEAST_FREE, free_bytes
from fda.store.store import Store

FRESH_SECONDS = 10  # a heart beats every 2 s; a busy machine may hold it up
START_SECONDS = 30  # from the queue to the first sign of life; measured: under 1 s
FORCED = "ended by force: the unit it was at starts anew on resume."
AnyRun = TypeVar("AnyRun", bound=StoredRun)


class LiveStore(Store):
    """The store with each run in the state of its process, whatever its row says."""

    def stored(self, run_id: str) -> Run | UnreadableRun:
        return as_it_is(super().stored(run_id), self.home)

    def all_stored(
        self, *, states: Sequence[State] | None = None, kinds: Sequence[str] | None = None, limit: int = 200
    ) -> list[Run | UnreadableRun]:
        runs = [as_it_is(run, self.home) for run in super().all_stored(kinds=kinds, limit=limit)]
        if not runs:
            self._require_no_lost_runs()
        return [run for run in runs if states is None or run.state in states]

    def _require_no_lost_runs(self) -> None:
        """UserError if the store lists nothing although run folders exist: it was emptied or replaced."""
        for _ in range(3):
            lost = self.unlisted()
            if not lost:
                return
            time.sleep(0.3)  # a run that is being created has its folder a moment before its row
        raise UserError(
            f"{self.path} lists no run, though {self.home / 'runs'} holds {len(lost)} (the newest is {lost[-1]}): "
            "`python -m fda doctor --repair` lists them again."
        )

    def queue_position(self, run_id: str) -> int | None:
        """The position among the queued runs whose workers live."""
        this = self.stored(run_id)
        if this.state != "queued":
            return None
        waiting = [run for run in self.all_stored(states=("queued",)) if run.device == this.device]
        return 1 + sum((run.queued, run.run_id) < (this.queued, this.run_id) for run in waiting)


def as_it_is(run: AnyRun, home: Path) -> AnyRun:
    """The run with the state and message that follow from its process; one that has ended did so at its last beat."""
    ended = verdict(run, home)
    if ended is None:
        return run
    return replace(run, state=ended[0], message=ended[1], finished=run.heartbeat or run.queued)


def verdict(run: StoredRun, home: Path) -> tuple[State, str] | None:
    """How a run that is stored as active has ended, and a sentence why; None if its worker is, or may be, at work."""
    if not run.active:
        return None
    folder = home / "runs" / run.run_id
    beat = last_beat(folder)
    if run.pid is None:
        return _never_claimed(run, beat, folder)
    beat = beat if beat is not None and beat.pid == run.pid else None
    if not is_alive(run.pid, run.pid_started):
        if run.state == "stopping":
            return "cancelled", FORCED
        return "crashed", f"the worker process ended without a word{_lost(beat)}{_full(home)}; {go_on(run)}"
    if run.state == "stopping":
        return None  # the process that asked it to stop sees to that
    if is_suspended(run.pid, run.pid_started) and (beat is None or beat.age > FRESH_SECONDS):
        reason = f"the worker process is suspended and gives no sign of life{_lost(beat)}"
        return "crashed", f"{reason}; `kill -CONT {run.pid}` lets it go on, {go_on(run)}"
    if beat is not None and beat.age > FRESH_SECONDS:
        return "crashed", f"the worker process gives no sign of life{_lost(beat)}; {go_on(run)}"
    return None


def _never_claimed(run: StoredRun, beat: Beat | None, folder: Path) -> tuple[State, str] | None:
    """The verdict on a run without a worker. It beats before it claims the run, which a locked store may delay."""
    if seconds_since(run.queued_clock) <= START_SECONDS:
        return None
    if beat is not None and beat.age <= FRESH_SECONDS and is_alive(beat.pid, beat.pid_started):
        return None
    reason = f"the worker process did not start within {START_SECONDS} s (see {folder / 'log.txt'})"
    return "crashed", f"{reason}{_full(folder.parent.parent)}; {go_on(run)}"


def go_on(run: StoredRun) -> str:
    """How to go on after a crash, as the end of a sentence."""
    return "start it again." if run.kind in HELPERS else "resume continues from the finished units."


def _lost(beat: Beat | None) -> str:
    if beat is None:
        return ""
    return f" (heartbeat lost {beat.age:.0f} s ago)" if beat.age < 1e9 else " (the machine was started anew)"


def _full(home: Path) -> str:
    return f": the disk of {home} is full, free some space there" if free_bytes(home) < LEAST_FREE else ""

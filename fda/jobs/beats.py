"""The heartbeat of a worker: one line in `runs/RUN_ID/heartbeat`, overwritten in place. It does not use the store.

So it goes on while the store is locked or its disk is full. The line holds the process id, the process's start
(`processes.start_time`), the number of the beat, and the moment as `clock.stamp` writes it. Any process of the same machine can
compute a beat's age from that clock, which nobody can set.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from fda.clock import seconds_since, stamp
from fda.processes import start_time

WIDTH = 160  # characters of the line; always the same, so that the file is never cut


@dataclass(frozen=True)
class Beat:
    """The last beat of a worker: its process, the number of the beat, and its moment."""

    pid: int
    pid_started: float
    number: int
    stamp: str

    @property
    def age(self) -> float:
        """Seconds; infinite for one from before the machine started."""
        return seconds_since(self.stamp)


class Beats:
    """Writes the beats of one worker. Does not fail if the disk is full."""

    def __init__(self, run_dir: Path) -> None:
        self._file, self._number = beat_file(run_dir), 0
        self._pid, self._started = os.getpid(), start_time(os.getpid())

    def beat(self) -> None:
        self._number += 1
        line = f"{self._pid} {self._started!r} {self._number} {stamp()}"
        with contextlib.suppress(OSError):
            descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.pwrite(descriptor, line.ljust(WIDTH - 1).encode("ascii") + b"\n", 0)
            finally:
                os.close(descriptor)

    def end(self) -> None:
        """Remove the beat: the work has ended, though this process may live on."""
        last = last_beat(self._file.parent)
        if last is not None and last.pid == self._pid:
            with contextlib.suppress(OSError):
                self._file.unlink()


def beat_file(run_dir: Path) -> Path:
    return run_dir / "heartbeat"


def last_beat(run_dir: Path) -> Beat | None:
    """None if no worker has written one, or if it cannot be read."""
    try:
        with beat_file(run_dir).open("rb") as file:
            pid, started, number, *stamped = file.read(WIDTH).decode("ascii").split()
        return Beat(int(pid), float(started), int(number), " ".join(stamped))
    except (OSError, ValueError):
        return None

"""A command that a page sets going and that outlives the browser and the server: what it says, whether it lives, its end.

Two files tell: a log, what the command said, and a note, which process it is. What it makes, and where, is for the caller.
"""

import fcntl
import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fda.atomic import write_text
from fda.processes import detached, is_alive, send_signal, start_time
from fda.store.store import Store

ENDING_SECONDS = 5.0

_children: dict[Path, subprocess.Popen] = {}  # of this process, polled so that none stays a zombie


@dataclass(frozen=True)
class Background:
    log: Path
    note: Path

    def start(self, command: Sequence[str], home: Path, **noted: object) -> None:
        """Set it going with an empty log; `noted` is kept beside the pid. OSError if it cannot be started."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.unlink(missing_ok=True)
        child = _children[self.note] = detached(command, self.log, home)
        write_text(self.note, json.dumps({"pid": child.pid, "started": start_time(child.pid), **noted}))

    @property
    def noted(self) -> Mapping[str, Any] | None:
        """What was noted at the start; None if it never was started, or is forgotten."""
        try:
            found = json.loads(self.note.read_text(encoding="utf-8"))
            return found | {"pid": int(found["pid"]), "started": float(found["started"])}
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @property
    def alive(self) -> bool:
        child = _children.get(self.note)
        if child is not None and child.poll() is not None:
            del _children[self.note]
        noted = self.noted
        return noted is not None and is_alive(noted["pid"], noted["started"])

    @property
    def said(self) -> str:
        try:
            return self.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def sentence(self, *, but: re.Pattern[str]) -> str | None:
        """The last `fda: …` line that is not `but`: why it failed."""
        lines = [line for line in self.said.splitlines() if line.startswith("fda: ") and not but.match(line)]
        return lines[-1].removeprefix("fda: ") if lines else None

    def end(self) -> None:
        """Kill it, wait until it is gone, and forget it."""
        noted = self.noted
        if noted is not None:
            process = (noted["pid"], noted["started"])
            send_signal(*process, signal.SIGKILL)
            last = time.monotonic() + ENDING_SECONDS
            while is_alive(*process) and time.monotonic() < last:
                time.sleep(0.05)
        _ = self.alive  # a child of this process is let go
        self.forget()

    def forget(self) -> None:
        for path in (self.log, self.note):
            path.unlink(missing_ok=True)


@contextmanager
def one_at_a_time(store: Store, name: str) -> Iterator[None]:
    """What is started or ended under this name, by any server of this FDA_HOME, is so one after the other."""
    with store.open_lock(name) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

"""How a process of the kit ends itself by SIGKILL at a chosen place: inside a transaction, or around the rename of a file.

Installed in the process that is to die. Every write of a run is also noted with its process, so that two workers of one run
would be seen.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fda.store.database import Database

Place = Literal["before commit", "after commit", "before rename", "after rename"]
PLACES: tuple[Place, ...] = ("before commit", "after commit", "before rename", "after rename")


@dataclass(frozen=True)
class Death:
    """SIGKILL at the `count`-th transaction or rename of the process, counting from 1."""

    place: Place
    count: int


def install(death: Death | None, writers: Path) -> None:
    """From now on this process dies as `death` says and notes each write in `writers`: RUN_ID PID, a line each."""
    counts = {"commit": 0, "rename": 0}
    transaction, writing, replace = Database._transaction, Database._writing, os.replace

    def passes(moment: str, event: str) -> None:
        if death is not None and death.place == f"{moment} {event}" and counts[event] == death.count:
            os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def counted_transaction(self: Database) -> Iterator:
        with transaction(self) as connection:
            yield connection
            counts["commit"] += 1
            passes("before", "commit")
        passes("after", "commit")

    @contextmanager
    def noted_writing(self: Database, run_id: str) -> Iterator:
        with writing(self, run_id) as pair:
            yield pair
            descriptor = os.open(writers, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(descriptor, f"{run_id} {os.getpid()}\n".encode())  # in the order of the commits
            os.close(descriptor)

    def counted_replace(*arguments: object, **named: object) -> None:
        counts["rename"] += 1
        passes("before", "rename")
        replace(*arguments, **named)
        passes("after", "rename")

    Database._transaction, Database._writing, os.replace = counted_transaction, noted_writing, counted_replace

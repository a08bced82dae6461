"""The audit trail: who did what to which run, and when. An entry is written in the same transaction as what it tells."""

import sqlite3
import time
from dataclasses import dataclass

from fda.actor import actor
from fda.errors import readable
from fda.store.database import Database

MOST_DETAIL = 300  # characters


@dataclass(frozen=True)
class Entry:
    """One action. `run_id`: None for what concerns no run, such as a zoo file. The run may be gone by now."""

    time: float  # seconds since the epoch
    who: str
    action: str
    run_id: str | None
    detail: str | None


class Audit(Database):
    """Writes and reads the table `audit`. Nothing removes entries, not even the deletion of their run."""

    def record(self, action: str, *, run_id: str | None = None, detail: str | None = None) -> None:
        """Record what the present actor did outside of the store."""
        with self._transaction() as connection:
            note(connection, action, run_id, detail)

    def audit(self, *, run_id: str | None = None, who: str | None = None, limit: int = 100) -> list[Entry]:
        """The newest `limit` entries of a run, a person or all, newest first."""
        conditions, values = ["1"], []
        for column, value in (("run_id", run_id), ("who", who)):
            if value is not None:
                conditions.append(f"{column} = ?")
                values.append(value)
        query = f"SELECT time, who, action, run_id, detail FROM audit WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT ?"
        with self._reading() as connection:
            return [Entry(*row) for row in connection.execute(query, (*values, limit))]


def note(connection: sqlite3.Connection, action: str, run_id: str | None, detail: str | None = None) -> None:
    """Add an entry for the present actor to a transaction."""
    detail = readable(detail)[:MOST_DETAIL] if detail else None
    connection.execute(
        "INSERT INTO audit (time, who, action, run_id, detail) VALUES (?, ?, ?, ?, ?)",
        (time.time(), actor().name, action, run_id, detail),
    )

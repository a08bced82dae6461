"""What keeps the store's file in order over months: rows that no run owns, and pages that deleted rows left free.

A store made from now on gives pages back in steps (`auto_vacuum = INCREMENTAL`), which works beside workers; an older one is
written anew once, by `compact`, while nothing works.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress

from fda.errors import UserError
from fda.store.database import Database
from fda.store.spec import RunSpec

OF_RUNS = ("units", "phases", "results", "scores", "system", "files")
OF_UNITS = ("scalars", "snapshots")
STEP_PAGES = 2_000  # given back at a time: 8 MB, in some 10 ms, so that no writer waits long
INCREMENTAL = 2  # SQLite's number of that mode of auto_vacuum

# Owners that a large table names, by one search each instead of a look at every row.
_OWNERS = """
WITH RECURSIVE owner(id) AS (
    SELECT min({column}) FROM {table}
    UNION ALL SELECT (SELECT min({column}) FROM {table} WHERE {column} > owner.id) FROM owner WHERE owner.id IS NOT NULL
)
SELECT id FROM owner WHERE id IS NOT NULL AND id NOT IN (SELECT id FROM {owners})
"""


class Upkeep(Database):
    """Checks and changes of the store as a whole."""

    @contextmanager
    def write_locked(self) -> Iterator[None]:
        """Hold the write lock and change nothing: meanwhile no run is created or deleted, so rows and folders agree."""
        with self._transaction():
            yield

    def orphans(self) -> Mapping[str, int]:
        """Table → number of owners that its rows name and that do not exist; empty if all rows have one."""
        with self._reading() as connection:
            counts = {table: len(list(_lost(connection, table))) for table in (*OF_RUNS, *OF_UNITS)}
        return {table: count for table, count in counts.items() if count}

    def delete_orphans(self) -> None:
        with self._transaction() as connection:
            for table in (*OF_RUNS, *OF_UNITS):  # units first: their numbers are then without an owner too
                column = _owner(table)[0]
                lost = list(_lost(connection, table))
                connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(owner,) for owner in lost])

    def has_row(self, run_id: str) -> bool:
        """Whether the store knows the run, though it may be deleted and wait to be brought back or removed."""
        with self._reading() as connection:
            return connection.execute("SELECT 1 FROM runs WHERE run_id = ?", (run_id,)).fetchone() is not None

    def spec_text(self, run_id: str) -> str:
        """A run's spec as it is stored, which may be unreadable."""
        with self._reading() as connection:
            return str(connection.execute("SELECT spec FROM runs WHERE run_id = ?", (run_id,)).fetchone()[0])

    def set_spec(self, run_id: str, spec: RunSpec) -> None:
        """Replace a spec that cannot be read."""
        with self._writing(run_id) as (connection, run):
            connection.execute("UPDATE runs SET spec = ? WHERE id = ?", (spec.model_dump_json(), run))

    def forget_processes(self) -> None:
        """Forget which process works, or worked, at each run."""
        with self._transaction() as connection:
            connection.execute("UPDATE runs SET pid = NULL, pid_started = NULL")

    # space -----------------------------------------------------------------------------------------------------------

    def free_bytes(self) -> int:
        """Bytes of the file that hold nothing: new rows fill them, or `give_back` and `compact` return them to the disk."""
        with self._reading() as connection:
            return _pragma(connection, "freelist_count") * _pragma(connection, "page_size")

    def gives_back(self) -> bool:
        """Whether pages can be returned beside workers. Not in a store of an earlier version, until `compact`."""
        with self._reading() as connection:
            return _pragma(connection, "auto_vacuum") == INCREMENTAL

    def give_back(self) -> None:
        """Return free pages to the disk, in steps between which others write. Stops if the store is busy or its disk full."""
        with suppress(UserError), self._readable_errors(), closing(self._connect()) as connection:
            if _pragma(connection, "auto_vacuum") != INCREMENTAL:
                return
            while _pragma(connection, "freelist_count"):
                connection.execute(f"PRAGMA incremental_vacuum({STEP_PAGES})").fetchall()
            connection.execute(
                "PRAGMA busy_timeout = 0"
            )  # readers keep the log as long as it is: the next writer cuts it
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def compact(self) -> None:
        """Write the file anew without free pages. Needs as much disk again, and all others wait: only while nothing works."""
        with self._readable_errors(), closing(self._connect()) as connection:
            connection.execute(f"PRAGMA auto_vacuum = {INCREMENTAL}")
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _owner(table: str) -> tuple[str, str]:
    """(column that names the owner, table of the owners)."""
    return ("run", "runs") if table in OF_RUNS else ("unit", "units")


def _lost(connection: sqlite3.Connection, table: str) -> Iterator[int]:
    column, owners = _owner(table)
    return (owner for (owner,) in connection.execute(_OWNERS.format(table=table, column=column, owners=owners)))


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]

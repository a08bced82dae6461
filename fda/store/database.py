"""The file under the store: its schema, its connections, its transactions, and what its failures are called.

One short connection per call, so that any thread of any process may call (a cached sqlite3 connection belongs to one
thread). Every write bumps the run's version in the same transaction. Knows nothing of what a run does.
"""

import errno
import fcntl
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TextIO

from fda.errors import UserError
from fda.home import fda_home

SCHEMA_VERSION = 1
BUSY_SECONDS = 10
RUN_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{4}")

# `scalars` holds millions of rows: WITHOUT ROWID and integer unit and key ids keep one at about 20 bytes, and a series
# is one contiguous range. `keys` gives the names of the integers in scalars.key.
SCHEMA = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, state TEXT NOT NULL, spec TEXT NOT NULL,
    device TEXT NOT NULL, message TEXT, created REAL NOT NULL, queued REAL NOT NULL, started REAL, finished REAL,
    heartbeat REAL, pid INTEGER, pid_started REAL, attempt INTEGER NOT NULL DEFAULT 1, stop_requested REAL,
    version INTEGER NOT NULL DEFAULT 1
);
CREATE INDEX runs_by_state ON runs (state, device);
CREATE TABLE units (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, stage TEXT NOT NULL, name TEXT NOT NULL, block INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending', step INTEGER NOT NULL DEFAULT 0, steps INTEGER NOT NULL, loss REAL,
    best_step INTEGER, seconds REAL, message TEXT, UNIQUE (run, stage, name, block)
);
CREATE INDEX units_by_state ON units (run, state);
CREATE TABLE keys (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE scalars (
    unit INTEGER NOT NULL, key INTEGER NOT NULL, step INTEGER NOT NULL, value REAL, PRIMARY KEY (unit, key, step)
) WITHOUT ROWID;
CREATE TABLE snapshots (
    unit INTEGER NOT NULL, kind TEXT NOT NULL, step INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (unit, kind, step)
);
CREATE TABLE results (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, method TEXT NOT NULL, state TEXT NOT NULL, settings TEXT NOT NULL,
    seconds REAL, peak_bytes INTEGER, message TEXT, UNIQUE (run, method)
);
CREATE TABLE scores (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, method TEXT NOT NULL, task TEXT NOT NULL, split TEXT NOT NULL,
    metric TEXT NOT NULL, value REAL, count INTEGER NOT NULL, UNIQUE (run, method, task, split, metric)
);
CREATE TABLE system (
    run INTEGER NOT NULL, time REAL NOT NULL, key TEXT NOT NULL, value REAL, PRIMARY KEY (run, time, key)
) WITHOUT ROWID;
"""

_FULL = "its disk is full: free some space there and try again."
_CLOSED = "it cannot be written: check its permissions, or set FDA_HOME to a folder that can be."
_SQLITE_REASONS = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _CLOSED,
    sqlite3.SQLITE_CANTOPEN: _CLOSED,
    sqlite3.SQLITE_PERM: _CLOSED,
    sqlite3.SQLITE_BUSY: f"another process has kept fda.db locked for {BUSY_SECONDS} s: try again in a moment.",
    sqlite3.SQLITE_CORRUPT: "its fda.db is damaged: move it away (the anchors in runs/ stay) and start again.",
    sqlite3.SQLITE_NOTADB: "its fda.db is no database: move it away and start again.",
}
_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
_CLOSED_ERRNOS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


class Database:
    """FDA_HOME/fda.db, created on first use. Touches nothing until a method is called."""

    def __init__(self, home: Path | None = None) -> None:
        self.home = fda_home() if home is None else Path(home).expanduser().resolve()
        self.path = self.home / "fda.db"

    def open_lock(self, name: str) -> TextIO:
        """FDA_HOME/locks/NAME.lock, to flock; characters of `name` that suit no file name become '_'."""
        with self._readable_errors():
            folder = self.home / "locks"
            folder.mkdir(parents=True, exist_ok=True)
            return (folder / f"{re.sub(r'[^A-Za-z0-9.-]', '_', name)}.lock").open("a")

    @contextmanager
    def held_open(self) -> Iterator[None]:
        """Spares a frequent writer SQLite's tidying up after the last connection (a write: 1.1 ms, with this 0.15).

        For the life of a worker. The connection held is never used for anything else.
        """
        with self._readable_errors():
            connection = self._connect()
            connection.execute("SELECT count(*) FROM runs").fetchone()
        with closing(connection):
            yield

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection whose reads all see the same moment."""
        with self._readable_errors(), closing(self._connect()) as connection:
            connection.execute("BEGIN")
            yield connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection whose writes happen together or, if the block raises, not at all."""
        with self._readable_errors(), closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")  # left out by an exception: closing rolls back

    @contextmanager
    def _writing(self, run_id: str) -> Iterator[tuple[sqlite3.Connection, int]]:
        """A transaction that changes one run: bumps its version, yields its row number."""
        with self._transaction() as connection:
            run = self._run_row(connection, run_id)
            connection.execute("UPDATE runs SET version = version + 1 WHERE id = ?", (run,))
            yield connection, run

    def _run_row(self, connection: sqlite3.Connection, run_id: str) -> int:
        row = connection.execute("SELECT id FROM runs WHERE run_id = ?", (self._checked(run_id),)).fetchone()
        if row is None:
            raise self._no_such_run(run_id)
        return row[0]

    def _checked(self, run_id: str) -> str:
        """`run_id` if it has the shape of one, so that it may become part of a path."""
        if not isinstance(run_id, str) or not RUN_ID.fullmatch(run_id):
            raise self._no_such_run(run_id)
        return run_id

    def _no_such_run(self, run_id: object) -> UserError:
        return UserError(f"There is no run {run_id!r} in {self.home}: `python -m fda runs list` shows those there are.")

    def _connect(self) -> sqlite3.Connection:
        self.home.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._create(connection)
            elif version != SCHEMA_VERSION:
                raise UserError(
                    f"{self.path} was written by another version of fda (schema {version}, this one reads "
                    f"{SCHEMA_VERSION}): use that version, or set FDA_HOME to another folder."
                )
        except BaseException:
            connection.close()
            raise
        return connection

    def _create(self, connection: sqlite3.Connection) -> None:
        with self.open_lock("store") as lock:  # SQLite's busy timeout does not cover the switch to WAL
            fcntl.flock(lock, fcntl.LOCK_EX)
            if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")

    @contextmanager
    def _readable_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            reason = _SQLITE_REASONS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
            if reason is None:
                raise
            raise UserError(f"{self.home} cannot be used, {reason}") from error
        except OSError as error:
            if error.errno not in _FULL_ERRNOS + _CLOSED_ERRNOS:
                raise
            reason = _FULL if error.errno in _FULL_ERRNOS else _CLOSED
            raise UserError(f"{self.home} cannot be used, {reason}") from error

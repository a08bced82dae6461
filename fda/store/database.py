"""Connections and transactions of the store's SQLite file.

Every call opens a short connection of its own, so any thread of any process may call (a cached sqlite3 connection belongs to
one thread). Readers open the file read-only: they neither create it nor wait for a writer. Every write increments the run's
version in the same transaction. Knows nothing of what a run does; `refusals.py` words the failures.
"""

import fcntl
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self, TextIO

from fda.errors import UserError
from fda.home import fda_home, make_private
from fda.processes import is_suspended
from fda.store.migrations import migrate, require_known
from fda.store.refusals import REPAIR, StoreBusy, readable_refusals
from fda.store.schema import SCHEMA, SCHEMA_VERSION

BUSY_SECONDS = 10
_NO_ROOM_BESIDE = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL)
LISTED = "deleted IS NULL"  # a deleted run is known to nobody but `deletion.py`
RUN_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{4}")


class Database:
    """FDA_HOME/fda.db, created by the first write; the constructor touches no file.

    `patience`: seconds a call waits for the write lock before it raises StoreBusy.
    """

    def __init__(self, home: Path | None = None, *, patience: float = BUSY_SECONDS) -> None:
        self.home = fda_home() if home is None else Path(home).expanduser().resolve()
        self.path = self.home / "fda.db"
        self.patience = patience

    def waiting(self, seconds: float) -> Self:
        """The same store with another `patience`."""
        return type(self)(self.home, patience=seconds)

    def open_lock(self, name: str) -> TextIO:
        """Open FDA_HOME/locks/NAME.lock for flock. Characters of `name` that file names cannot hold become '_'."""
        with self._readable_errors():
            make_private(self.home)
            folder = self.home / "locks"
            folder.mkdir(mode=0o700, exist_ok=True)
            return (folder / f"{re.sub(r'[^A-Za-z0-9.-]', '_', name)}.lock").open("a")

    @contextmanager
    def held_open(self) -> Iterator[None]:
        """Hold an unused connection open, so that SQLite does not remove the WAL after every write of a worker.

        A write then takes 0.15 ms instead of 1.1 ms.
        """
        with self._readable_errors():
            connection = self._connect()
            connection.execute("SELECT count(*) FROM runs").fetchone()
        with closing(connection):
            yield

    def create(self) -> None:
        """Create the store if it is missing, even beside run folders that it will not list."""
        with self._readable_errors():
            make_private(self.home)
            self._open_writing().close()

    def fault(self) -> str | None:
        """A sentence that says what is wrong with the file; None if it is whole. Reads the whole file."""
        try:
            with self._reading() as connection, closing(_empty_store()) as new:
                result = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                lacking = _columns(new) - _columns(connection)
        except UserError as error:
            return str(error)
        if result != "ok" or lacking:
            damage = result if result != "ok" else "it lacks " + ", ".join(sorted(lacking)[:3])
            return f"{self.path} is damaged ({damage}): {REPAIR}."
        return None

    def unlisted(self) -> list[str]:
        """Sorted ids of runs that have a folder with spec.json in runs/ but no row in the store."""
        with self._readable_errors():
            folders = {path.parent.name for path in (self.home / "runs").glob("*/spec.json")}
        folders = {name for name in folders if RUN_ID.fullmatch(name)}
        if folders and self._exists():
            with self._reading() as connection:
                folders -= {run_id for (run_id,) in connection.execute("SELECT run_id FROM runs")}
        return sorted(folders)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A read-only connection whose reads all see the same moment. A missing store reads as empty."""
        with self._readable_errors(), closing(self._snapshot()) as connection:
            yield connection

    def _snapshot(self) -> sqlite3.Connection:
        """A connection whose read transaction has begun, so later reads do not wait."""
        connection = self._connect_reading()
        try:
            connection.execute("BEGIN")
            connection.execute("SELECT 1 FROM runs LIMIT 1").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection whose writes happen together or, if the block raises, not at all."""
        with self._readable_errors(), closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")  # an exception skips this, and closing rolls back

    @contextmanager
    def _writing(self, run_id: str) -> Iterator[tuple[sqlite3.Connection, int]]:
        """A transaction that changes one run: increments its version and yields (connection, row number)."""
        with self._transaction() as connection:
            run = self._run_row(connection, run_id)
            connection.execute("UPDATE runs SET version = version + 1 WHERE id = ?", (run,))
            yield connection, run

    def _run_row(self, connection: sqlite3.Connection, run_id: str) -> int:
        row = connection.execute(
            f"SELECT id FROM runs WHERE run_id = ? AND {LISTED}", (self._checked(run_id),)
        ).fetchone()
        if row is None:
            raise self._no_such_run(run_id)
        return row[0]

    def _checked(self, run_id: str) -> str:
        """Return `run_id` if it has the form of a run id, so that it is safe in a path; else UserError."""
        if not isinstance(run_id, str) or not RUN_ID.fullmatch(run_id):
            raise self._no_such_run(run_id)
        return run_id

    def _no_such_run(self, run_id: object) -> UserError:
        return UserError(f"There is no run {run_id!r} in {self.home}: `python -m fda runs list` shows all runs.")

    # connections -----------------------------------------------------------------------------------------------------

    def _connect_reading(self) -> sqlite3.Connection:
        if not self._exists():
            self._require_no_runs()
            return _empty_store()
        connection = self._open_reading()
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == SCHEMA_VERSION:
                return connection
            require_known(version, self.path)
        except BaseException:
            connection.close()
            raise
        connection.close()
        self._connect().close()  # migrates the store of an earlier version
        return self._open_reading()

    def _open_reading(self) -> sqlite3.Connection:
        """Open for reading. SQLite creates a small file beside the store even to read it.

        If that fails (a full disk, a read-only folder) and no writer has left data in the WAL, open the store as immutable.
        """
        try:
            return self._opened("mode=ro")
        except sqlite3.OperationalError as error:
            wal = self.path.with_name(f"{self.path.name}-wal")
            refused = getattr(error, "sqlite_errorcode", 0) & 0xFF in _NO_ROOM_BESIDE
            if not refused or (wal.exists() and wal.stat().st_size):
                raise
            return self._opened("mode=ro&immutable=1")

    def _opened(self, options: str) -> sqlite3.Connection:
        uri = f"{self.path.as_uri()}?{options}"
        connection = sqlite3.connect(uri, uri=True, timeout=self.patience, isolation_level=None)
        try:
            connection.text_factory = _text
            connection.execute("PRAGMA user_version").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> sqlite3.Connection:
        """Open for writing; create or migrate the store if needed."""
        make_private(self.home)
        if not self._exists():
            self._require_no_runs()
        return self._open_writing()

    def _open_writing(self) -> sqlite3.Connection:
        self.path.touch(mode=0o600)
        connection = sqlite3.connect(self.path, timeout=self.patience, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version != SCHEMA_VERSION:
                self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Create or migrate under a file lock: SQLite's busy timeout does not cover the switch to WAL."""
        with self.open_lock("store") as lock:
            self._wait_for(lock)
            if connection.execute("PRAGMA user_version").fetchone()[0] != 0:
                migrate(connection, self.path)
            elif connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise UserError(f"{self.path} is not a store of fda: {REPAIR}.")
            else:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before the first table: see `upkeep.py`
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")

    def _wait_for(self, lock: TextIO) -> None:
        end = time.monotonic() + self.patience
        while True:
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    raise StoreBusy(
                        f"{self.home} cannot be used, another process has been preparing fda.db for "
                        f"{self.patience:g} s: try again in a moment."
                    ) from None
                time.sleep(0.02)

    def _exists(self) -> bool:
        """Whether the store exists; an empty file does not count."""
        try:
            return self.path.stat().st_size > 0
        except FileNotFoundError:
            return False

    def _require_no_runs(self) -> None:
        """UserError if the store is missing or empty but run folders exist."""
        count = sum(bool(RUN_ID.fullmatch(path.parent.name)) for path in (self.home / "runs").glob("*/spec.json"))
        if count and not self._exists():  # checked again: another process may just have created it
            runs = "the folder of a run" if count == 1 else f"the folders of {count} runs"
            raise UserError(
                f"{self.path} is missing or empty beside {runs}: `python -m fda doctor --repair` lists them again."
            )

    @contextmanager
    def _readable_errors(self) -> Iterator[None]:
        try:
            with readable_refusals(self.home, self.patience):
                yield
        except StoreBusy as busy:
            if (worker := self._suspended_worker()) is None:
                raise
            run_id, pid = worker
            raise StoreBusy(
                f"{self.home} cannot be used, process {pid} of run {run_id} is suspended and keeps fda.db locked: "
                f"let it go on (`kill -CONT {pid}`) or end it (`python -m fda runs stop {run_id}`)."
            ) from busy

    def _suspended_worker(self) -> tuple[str, int] | None:
        """(run id, pid) of a suspended worker, which may hold the write lock."""
        try:
            with closing(self._open_reading()) as connection:
                connection.execute("PRAGMA busy_timeout = 0")
                rows = connection.execute("SELECT run_id, pid, pid_started FROM runs WHERE pid IS NOT NULL").fetchall()
        except sqlite3.Error:
            return None
        return next(((run_id, pid) for run_id, pid, started in rows if is_suspended(pid, started)), None)


def _empty_store() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(SCHEMA)
    return connection


def _columns(connection: sqlite3.Connection) -> set[str]:
    """TABLE.COLUMN of every table."""
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {f"{table}.{row[1]}" for table in tables for row in connection.execute(f'PRAGMA table_info("{table}")')}


def _text(data: bytes) -> str:
    """Decode a text column; invalid bytes affect only their own row."""
    return data.decode("utf-8", "replace")

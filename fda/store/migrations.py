"""Migrate a store of an earlier version to this version's schema, keeping every run.

To change the schema: edit the tables in `schema.py`, raise SCHEMA_VERSION by one, and add to STEPS, under the version it starts
from, a function that turns the old tables into the new ones. Never edit a released step. New columns go to the end of a table,
where ALTER TABLE puts them. A test compares the migrated tables with the new ones.
"""

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

from fda.errors import UserError
from fda.processes import is_alive
from fda.store.schema import SCHEMA_VERSION


def _from_1(connection: sqlite3.Connection) -> None:
    """Add sizes and checksums of finished files, and the queueing time on a clock that users cannot set."""
    connection.execute("ALTER TABLE runs ADD COLUMN queued_clock TEXT")
    connection.execute(
        "CREATE TABLE files (run INTEGER NOT NULL, path TEXT NOT NULL, bytes INTEGER NOT NULL, "
        "modified INTEGER NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY (run, path)) WITHOUT ROWID"
    )


def _from_2(connection: sqlite3.Connection) -> None:
    """Add what people say of a run (name, note, tags), and the mark of a deleted run whose files are still there."""
    for column in ("name", "note", "tags", "deleted"):
        connection.execute(f"ALTER TABLE runs ADD COLUMN {column} TEXT")


def _from_3(connection: sqlite3.Connection) -> None:
    """Add the phases of runs, with their estimates and times. Earlier runs have none."""
    connection.execute(
        "CREATE TABLE phases (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, phase TEXT NOT NULL, estimate REAL, "
        "done INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL DEFAULT 0, seconds REAL NOT NULL DEFAULT 0, "
        "began REAL, ended REAL, here INTEGER NOT NULL DEFAULT 1, UNIQUE (run, phase))"
    )


def _from_4(connection: sqlite3.Connection) -> None:
    """Add the node of a cluster that computes a unit, who started a run, and the audit trail. Nobody knows who started earlier
    runs.
    """
    connection.execute("ALTER TABLE units ADD COLUMN node TEXT")
    connection.execute("ALTER TABLE runs ADD COLUMN started_by TEXT")
    connection.execute(
        "CREATE TABLE audit (id INTEGER PRIMARY KEY, time REAL NOT NULL, who TEXT NOT NULL, action TEXT NOT NULL, "
        "run_id TEXT, detail TEXT)"
    )


STEPS: Mapping[int, Callable[[sqlite3.Connection], None]] = {1: _from_1, 2: _from_2, 3: _from_3, 4: _from_4}


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Run all steps from the file's version to SCHEMA_VERSION in one transaction. The caller holds the store's lock.

    UserError for an unknown version, and while a worker of the earlier version is running: it could not continue.
    """
    connection.execute("BEGIN IMMEDIATE")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != SCHEMA_VERSION:
        require_known(version, path)
        _refuse_while_running(connection, path)
        for step in range(version, SCHEMA_VERSION):
            STEPS[step](connection)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def require_known(version: int, path: Path) -> None:
    """UserError if no steps lead from this version to SCHEMA_VERSION."""
    if version not in STEPS and version != SCHEMA_VERSION:
        raise UserError(
            f"{path} was written by another version of fda (schema {version}, this one reads {SCHEMA_VERSION}): "
            "use that version, or set FDA_HOME to another folder."
        )


def _refuse_while_running(connection: sqlite3.Connection, path: Path) -> None:
    rows = connection.execute(
        "SELECT run_id, pid, pid_started FROM runs WHERE state IN ('queued', 'running', 'stopping')"
    )
    for run_id, pid, started in rows:
        if is_alive(pid, started):
            raise UserError(
                f"{path} is of an earlier version of fda, whose run {run_id} is still at work (process {pid}): wait "
                f"until it has ended, or end it with `kill {pid}`; then the store is brought up to date by itself."
            )

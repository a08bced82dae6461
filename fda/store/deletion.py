"""Deletion of runs in two steps: a mark that hides the run everywhere, and later the removal of its rows and files.

Between the two the run can be brought back whole. Nothing is lost early and nothing leaks: the mark is a column of the run's
row, every action removes the runs whose mark is older than UNDO_SECONDS, and the next one does it if this process ends first.
"""

import os
import shutil
import sqlite3
from pathlib import Path

from fda.clock import seconds_since, stamp
from fda.errors import UserError
from fda.store.audit import Audit, note
from fda.store.database import LISTED, RUN_ID
from fda.store.records import ACTIVE, Run, UnreadableRun
from fda.store.rows import RUN_QUERY, read_run
from fda.store.upkeep import OF_RUNS, OF_UNITS, Upkeep

UNDO_SECONDS = 60.0  # a deleted run is kept at least this long


class Deletion(Audit, Upkeep):
    """Marks, brings back and removes runs."""

    def mark_deleted(self, run_id: str) -> None:
        """Hide a run that is not active; `undelete` brings it back until `purge` removes it.

        A damaged row without a valid id has no folder: it is removed at once.
        """
        if not RUN_ID.fullmatch(run_id):
            return self._delete_row(run_id)
        with self._writing(run_id) as (connection, run):
            _require_inactive(connection, run, run_id)
            connection.execute("UPDATE runs SET deleted = ? WHERE id = ?", (stamp(), run))
            note(connection, "delete", run_id)

    def deleted(self, run_id: str) -> Run | UnreadableRun:
        """A run that is deleted and can still be brought back. UserError if it is not deleted, or if there is none."""
        with self._reading() as connection:
            row = connection.execute(
                f"{RUN_QUERY} WHERE run_id = ? AND deleted IS NOT NULL", (self._checked(run_id),)
            ).fetchone()
            if row is None:
                self._run_row(connection, run_id)
                raise UserError(f"Run {run_id} is not deleted: there is nothing to bring back.")
        return read_run(row)

    def undelete(self, run_id: str) -> None:
        """Bring back a deleted run. UserError if its files are removed already, or if it is not deleted."""
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE runs SET deleted = NULL, version = version + 1 WHERE run_id = ? AND deleted IS NOT NULL",
                (self._checked(run_id),),
            ).rowcount
            if not changed:
                self._run_row(connection, run_id)
                raise UserError(f"Run {run_id} is not deleted: there is nothing to bring back.")
            note(connection, "undelete", run_id)

    def delete_run(self, run_id: str) -> None:
        """Remove the rows and the folder of a run that is not active, at once."""
        if not RUN_ID.fullmatch(run_id):
            return self._delete_row(run_id)
        with self._transaction() as connection:
            run = self._run_row(connection, run_id)
            _require_inactive(connection, run, run_id)
            aside = self._remove(connection, run, run_id)
            note(connection, "delete", run_id, "at once")
        _remove_folder(aside, run_id)
        self.give_back()

    def purge(self, seconds: float = UNDO_SECONDS) -> None:
        """Remove the runs deleted more than `seconds` ago, and what a process that was killed in between left."""
        with self._reading() as connection:
            rows = connection.execute("SELECT run_id, deleted FROM runs WHERE deleted IS NOT NULL").fetchall()
        over = [run_id for run_id, deleted in rows if seconds_since(str(deleted)) >= seconds]
        for run_id in over:
            self._purge_one(run_id)
        if over:
            self.give_back()
        for folder in (self.home / "runs").glob(".*.deleted"):
            run_id = folder.name[1 : -len(".deleted")]
            if RUN_ID.fullmatch(run_id) and not self._restored(run_id, folder):
                shutil.rmtree(folder, ignore_errors=True)

    def _purge_one(self, run_id: str) -> None:
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT id FROM runs WHERE run_id = ? AND deleted IS NOT NULL", (run_id,)
            ).fetchone()
            if row is None:  # brought back, or removed by another process
                return
            if not RUN_ID.fullmatch(run_id):
                return _delete_rows(connection, row[0])
            aside = self._remove(connection, row[0], run_id)
        _remove_folder(aside, run_id)

    def _remove(self, connection: sqlite3.Connection, run: int, run_id: str) -> Path:
        """Delete the run's rows and rename its folder; where that is now.

        Renaming is instant, so other writers do not wait while gigabytes are deleted.
        """
        folder = self.home / "runs" / run_id
        aside = folder.with_name(f".{run_id}.deleted")
        _delete_rows(connection, run)
        if folder.exists():
            os.replace(folder, aside)
        return aside

    def _delete_row(self, run_id: str) -> None:
        """Delete a damaged row whose run id is invalid; it has no folder."""
        with self._transaction() as connection:
            row = connection.execute(f"SELECT id FROM runs WHERE run_id = ? AND {LISTED}", (run_id,)).fetchone()
            if row is None:
                raise self._no_such_run(run_id)
            _delete_rows(connection, row[0])
            note(connection, "delete", None, f"a damaged row, {run_id}")

    def _restored(self, run_id: str, aside: Path) -> bool:
        """Whether the run still has its row, because what deleted it was killed before it committed; its folder comes back.

        The write lock keeps out a deletion in progress, which is between its rename and its commit too.
        """
        with self._transaction() as connection:
            if connection.execute("SELECT 1 FROM runs WHERE run_id = ?", (run_id,)).fetchone() is None:
                return False
            folder = aside.with_name(run_id)
            if aside.exists() and not folder.exists():
                os.replace(aside, folder)
        return True


def _require_inactive(connection: sqlite3.Connection, run: int, run_id: str) -> None:
    state = connection.execute("SELECT state FROM runs WHERE id = ?", (run,)).fetchone()[0]
    if state in ACTIVE:
        raise UserError(f"Run {run_id} is {state}: stop it first (`python -m fda runs stop {run_id}`).")


def _remove_folder(folder: Path, run_id: str) -> None:
    while folder.exists():
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:  # another process removes it too
            continue
        except OSError as error:
            raise UserError(
                f"Run {run_id} is deleted, but {folder} could not be removed ({error.strerror}): remove it by hand."
            ) from error


def _delete_rows(connection: sqlite3.Connection, run: int) -> None:
    units = "(SELECT id FROM units WHERE run = ?)"
    for table in OF_UNITS:
        connection.execute(f"DELETE FROM {table} WHERE unit IN {units}", (run,))
    for table in OF_RUNS:
        connection.execute(f"DELETE FROM {table} WHERE run = ?", (run,))
    connection.execute("DELETE FROM runs WHERE id = ?", (run,))

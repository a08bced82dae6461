"""The store: one SQLite file with every run, its progress, and every number it produced.

Workers write it; pages and the command line read it. Knows nothing of torch, processes or figures. This file handles the runs
themselves, `deletion.py` their deletion, `phases.py` their phases,
`numbers.py` what they produce, `upkeep.py` the file over months, `database.py` connections and transactions,
`records.py` the returned records.

Tables (also readable by other tools):
  runs       one row a run: state, spec, device, process, heartbeat, name, note, tags (words), time of deletion, starter
  units      one row a unit of progress: (run, stage, name, block)
               stage `construct`: name = task,   block = number      (the unit of resuming)
               stage `adapt`:     name = method, block = number      (adaptation of a block inside fda:… methods)
               stage `evaluate`:  name = method, block = -1          (merge and score one method)
               stage `landscape`: name = `grid`, block = tile        (points of the plane, scored in parallel)
                                  name = a path or `finetuned`, block = -1   (its recorded weights, scored)
               stage `export`:    name = method, block = -1          (steps are bytes written)
               stage `download`:  name = zoo,    block = -1          (steps are bytes; the message is the file on its way)
  phases     one row a (run, phase): expected seconds, pieces done, seconds at work (see `PhaseRow` in `records.py`)
  scalars    (unit, key, step) -> value        keys: angle_loss, learning_rate, adapt_loss, cosine/<tensor>, seconds, …
               landscape: loss, accuracy, loss/<task>, accuracy/<task>; step = point of the grid, or index on the path
               (`key` is an integer; the table `keys` has its name)
  snapshots  (unit, kind, step) -> float32 array   kinds: spectrum (singular values / largest), similarity (one value)
  results    one row a (run, method): state, settings, cost
  scores     one row a (run, method, task, split, metric)
  system     (run, time, key) -> value          device memory, utilisation
  files      (run, path) -> size, mtime, SHA-256 of a finished file, `path` below the run's folder
  audit      one row an action: when, who, what, to which run (see `audit.py`)
"""

import platform
import secrets
import shutil
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from fda.actor import actor
from fda.atomic import write_text
from fda.clock import stamp
from fda.errors import UserError
from fda.processes import is_alive
from fda.store.audit import note as note_action
from fda.store.database import LISTED
from fda.store.deletion import Deletion
from fda.store.description import checked_name, checked_note, checked_tags
from fda.store.numbers import Numbers
from fda.store.phases import Phases, close_phases
from fda.store.records import (
    ACTIVE,
    ANALYSES,
    FINAL,
    HELPERS,
    KINDS,
    FileRecord,
    MethodResult,
    Run,
    Score,
    Stage,
    State,
    Unit,
    UnitKey,
    UnitState,
    UnreadableRun,
)
from fda.store.rows import RUN_QUERY, read_run
from fda.store.spec import RunSpec

__all__ = [
    "ACTIVE",
    "FINAL",
    "FileRecord",
    "MethodResult",
    "Run",
    "Score",
    "Stage",
    "State",
    "Store",
    "Unit",
    "UnitKey",
    "UnitState",
    "UnreadableRun",
]

ALL = 1_000_000  # a limit above the number of runs in any store
IO_QUEUE = "io"

# the current time, or just after the last queued run if the clock was set back since
_LAST_IN_QUEUE = "max(?, coalesce((SELECT max(queued) + 0.001 FROM runs WHERE state = 'queued'), 0))"


class Store(Deletion, Numbers, Phases):
    """All reads and writes of one FDA_HOME/fda.db. Every call opens its own connection: safe from any thread or process.

    Every method that takes a run id raises UserError if the run does not exist, or if the store cannot be read or written (disk
    full, no permission, damaged).
    """

    # folders ---------------------------------------------------------------------------------------------------------
    def run_dir(self, run_id: str) -> Path:
        """FDA_HOME/runs/RUN_ID. Checks the id's form, so that the path stays inside runs/, but not that the run exists."""
        return self.home / "runs" / self._checked(run_id)

    # runs ------------------------------------------------------------------------------------------------------------
    def create_run(self, spec: RunSpec) -> str:
        """Queue a new run of the present actor; its id. Row, folder and spec.json are created together or not at all."""
        now = time.time()
        folder = None
        try:
            with self._transaction() as connection:
                run_id = self._free_run_id(connection, now)
                connection.execute(
                    "INSERT INTO runs (run_id, kind, state, spec, device, created, queued, queued_clock, started_by) "
                    f"VALUES (?, ?, 'queued', ?, ?, ?, {_LAST_IN_QUEUE}, ?, ?)",
                    (run_id, spec.kind, spec.model_dump_json(), queue_of(spec), now, now, stamp(), actor().name),
                )
                note_action(connection, "start", run_id, f"{spec.kind} on zoo {spec.zoo.name}")
                folder = self.run_dir(run_id)
                folder.parent.mkdir(mode=0o700, exist_ok=True)
                folder.mkdir(mode=0o700)
                write_text(folder / "spec.json", spec.model_dump_json(indent=2) + "\n")
        except BaseException:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        return run_id

    def adopt_run(self, run_id: str, spec: RunSpec, device: str, created: float, message: str) -> None:
        """Add a row for an existing run folder, as a cancelled run that sorts before all others."""
        with self._transaction() as connection:
            first = connection.execute("SELECT coalesce(min(id), 1) FROM runs").fetchone()[0]
            connection.execute(
                "INSERT INTO runs (id, run_id, kind, state, spec, device, message, created, queued, finished) "
                "VALUES (?, ?, ?, 'cancelled', ?, ?, ?, ?, ?, ?)",
                (
                    first - 1,
                    self._checked(run_id),
                    spec.kind,
                    spec.model_dump_json(),
                    device,
                    message,
                    created,
                    created,
                    created,
                ),
            )

    def _free_run_id(self, connection: sqlite3.Connection, now: float) -> str:
        """An id such as 20261123-041500-ab12: UTC to the second, so that ids sort by age, and an unused suffix."""
        moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
        while True:
            run_id = f"{moment}-{secrets.token_hex(2)}"
            taken = connection.execute("SELECT 1 FROM runs WHERE run_id = ?", (run_id,)).fetchone()
            if not taken and not self.run_dir(run_id).exists():
                return run_id

    def run(self, run_id: str) -> Run:
        """One run. UserError also if its row cannot be read."""
        run = self.stored(run_id)
        if isinstance(run, UnreadableRun):
            raise UserError(run.problem)
        return run

    def runs(
        self, *, states: Sequence[State] | None = None, kinds: Sequence[str] = ANALYSES, limit: int = 200
    ) -> list[Run]:
        """The readable runs among the newest `limit` of these kinds in these states (None: any state), newest first."""
        return [run for run in self.all_stored(states=states, kinds=kinds, limit=limit) if isinstance(run, Run)]

    def unreadable_runs(self) -> list[UnreadableRun]:
        """The runs whose rows cannot be read, newest first."""
        return [run for run in self.all_stored(limit=ALL) if isinstance(run, UnreadableRun)]

    def stored(self, run_id: str) -> Run | UnreadableRun:
        """One run, as an UnreadableRun if its row cannot be read in full."""
        with self._reading() as connection:
            row = connection.execute(f"{RUN_QUERY} WHERE run_id = ? AND {LISTED}", (run_id,)).fetchone()
        if row is None:
            raise self._no_such_run(run_id)
        return read_run(row)

    def all_stored(
        self, *, states: Sequence[State] | None = None, kinds: Sequence[str] | None = None, limit: int = 200
    ) -> list[Run | UnreadableRun]:
        """Like `runs`, but of every kind unless `kinds` are named, and with unreadable runs included.

        A run whose kind is damaged belongs to every kind.
        """
        conditions, parameters = [LISTED], []
        left_out = [kind for kind in KINDS if kinds is not None and kind not in kinds]
        for condition, values in (("state IN", states), ("kind NOT IN", left_out or None)):
            if values is not None:
                conditions.append(f"{condition} ({', '.join('?' * len(values))})")
                parameters += values
        query = f"{RUN_QUERY} WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT ?"
        with self._reading() as connection:
            rows = connection.execute(query, (*parameters, limit)).fetchall()
        return [read_run(row) for row in rows]

    def describe(
        self,
        run_id: str,
        *,
        name: str | None = None,
        note: str | None = None,
        add_tags: Sequence[str] = (),
        remove_tags: Sequence[str] = (),
    ) -> None:
        """Set a run's name and note (None: leave it, empty: remove it) and change its tags. UserError as `description.py`."""
        with self._writing(run_id) as (connection, run):
            stored = connection.execute("SELECT tags FROM runs WHERE id = ?", (run,)).fetchone()[0]
            kept = [tag for tag in str(stored or "").split() if tag not in remove_tags]
            changes: dict[str, str | None] = {}
            if name is not None:
                changes["name"] = checked_name(name)
            if note is not None:
                changes["note"] = checked_note(note)
            if add_tags or remove_tags:
                changes["tags"] = " ".join(checked_tags([*kept, *add_tags])) or None
            for column, value in changes.items():
                connection.execute(f"UPDATE runs SET {column} = ? WHERE id = ?", (value, run))
            said = "; ".join(f"{column}: {value or 'none'}" for column, value in changes.items())
            note_action(connection, "describe", run_id, said)

    def queue_position(self, run_id: str) -> int | None:
        """Position in its device's queue, counting from 1; None if the run is not queued."""
        with self._reading() as connection:
            row = connection.execute(
                "SELECT CASE state WHEN 'queued' THEN (SELECT count(*) FROM runs AS other WHERE other.state = 'queued' "
                "AND other.device = runs.device AND (other.queued, other.id) <= (runs.queued, runs.id)) END "
                f"FROM runs WHERE run_id = ? AND {LISTED}",
                (self._checked(run_id),),
            ).fetchone()
        if row is None:
            raise self._no_such_run(run_id)
        return row[0]

    def version(self, run_id: str) -> int:
        """A number that grows with every change of the run except heartbeats."""
        with self._reading() as connection:
            row = connection.execute(
                f"SELECT version FROM runs WHERE run_id = ? AND {LISTED}", (self._checked(run_id),)
            ).fetchone()
        if row is None:
            raise self._no_such_run(run_id)
        return row[0]

    def versions(self) -> tuple[int, int, int]:
        """(newest row, sum of all versions, active runs): equal if no run has changed, except by heartbeats."""
        with self._reading() as connection:
            active = ", ".join(f"'{state}'" for state in ACTIVE)
            return connection.execute(
                f"SELECT coalesce(max(id), 0), coalesce(sum(version), 0), coalesce(sum(state IN ({active})), 0) FROM runs"
            ).fetchone()

    # lifecycle, used by jobs and worker ------------------------------------------------------------------------------
    def set_state(
        self, run_id: str, state: State, message: str | None = None, *, only_from: Sequence[State] | None = None
    ) -> bool:
        """Compare and set: enter `state` if the current one is in `only_from` (None: any); return whether it did.

        Records the times of start and end. When a run ends, its running units become pending.
        """
        now = time.time()
        with self._writing(run_id) as (connection, run):
            if only_from is not None and _state(connection, run) not in only_from:
                return False
            _enter(connection, run, state, message, now)
        return True

    def claim_process(self, run_id: str, pid: int, pid_started: float) -> None:
        """Make process `pid`, started at `pid_started` (see `processes.start_time`), the run's worker.

        UserError unless the run is queued, or was declared crashed while the process was starting; and while another worker
        that has claimed it lives, as when the first one of a resumed run was only slow to start.
        """
        with self._writing(run_id) as (connection, run):
            state, started, *worker = connection.execute(
                "SELECT state, started, pid, pid_started FROM runs WHERE id = ?", (run,)
            ).fetchone()
            if worker[0] != pid and is_alive(*worker):
                raise UserError(f"Run {run_id} is at work already (process {worker[0]}): this process leaves it alone.")
            if state != "queued" and (state, started) != ("crashed", None):
                raise UserError(f"Run {run_id} is {state}, not queued: `python -m fda runs resume {run_id}` queues it.")
            connection.execute(
                "UPDATE runs SET pid = ?, pid_started = ?, heartbeat = ? WHERE id = ?",
                (int(pid), float(pid_started), time.time(), run),
            )

    def beat(self, run_id: str, pid: int) -> bool:
        """Record a heartbeat of worker `pid`; False if it no longer owns the run (ended, or resumed by another).

        Revives a run that was declared crashed while the machine slept or the process was suspended.
        """
        with self._transaction() as connection:
            run = self._run_row(connection, run_id)
            state, owner, started, stop_requested = connection.execute(
                "SELECT state, pid, started, stop_requested FROM runs WHERE id = ?", (run,)
            ).fetchone()
            if owner != pid or state not in (*ACTIVE, "crashed"):
                return False
            connection.execute("UPDATE runs SET heartbeat = ? WHERE id = ?", (time.time(), run))
            if state == "crashed":
                awake = "queued" if started is None else "stopping" if stop_requested else "running"
                connection.execute(
                    "UPDATE runs SET state = ?, message = NULL, finished = NULL, version = version + 1 WHERE id = ?",
                    (awake, run),
                )
        return True

    def request_stop(self, run_id: str) -> None:
        """Ask an active run to stop: a running run enters `stopping`, a queued one `cancelled`."""
        now = time.time()
        with self._writing(run_id) as (connection, run):
            state = _state(connection, run)
            if state in ACTIVE:
                first = "UPDATE runs SET stop_requested = ? WHERE id = ? AND stop_requested IS NULL"
                if connection.execute(first, (now, run)).rowcount:
                    note_action(connection, "stop", run_id)
                _enter(connection, run, "cancelled" if state == "queued" else "stopping", None, now)

    def stop_requested(self, run_id: str) -> bool:
        with self._reading() as connection:
            row = connection.execute(
                f"SELECT stop_requested IS NOT NULL FROM runs WHERE run_id = ? AND {LISTED}", (self._checked(run_id),)
            ).fetchone()
        if row is None:
            raise self._no_such_run(run_id)
        return bool(row[0])

    def move_in_queue(self, run_id: str, places: Literal[-1, 1]) -> bool:
        """Swap a queued run with the one before it (-1) or behind it (1) in its queue; False if there is none."""
        before, order = ("<", "DESC") if places < 0 else (">", "ASC")
        with self._writing(run_id) as (connection, run):
            row = connection.execute(
                f"SELECT other.id, other.queued, this.queued FROM runs AS this JOIN runs AS other "
                "ON other.device = this.device AND other.state = 'queued' "
                f"AND (other.queued, other.id) {before} (this.queued, this.id) "
                f"WHERE this.id = ? AND this.state = 'queued' ORDER BY other.queued {order}, other.id {order} LIMIT 1",
                (run,),
            ).fetchone()
            if row is None:
                return False
            other, its_time, time_of_run = row
            for one, queued in ((run, its_time), (other, time_of_run)):
                connection.execute("UPDATE runs SET queued = ?, version = version + 1 WHERE id = ?", (queued, one))
            note_action(connection, "move", run_id, "up" if places < 0 else "down")
        return True

    def requeue(self, run_id: str, *, ended: Sequence[State] = ("failed", "cancelled", "crashed")) -> bool:
        """Put a run at the end of the queue if it ended in one of these states; return whether it did."""
        with self._writing(run_id) as (connection, run):
            if _state(connection, run) not in ended:
                return False
            connection.execute("UPDATE units SET state = 'pending' WHERE run = ? AND state = 'running'", (run,))
            beat = connection.execute("SELECT heartbeat FROM runs WHERE id = ?", (run,)).fetchone()[0]
            close_phases(connection, run, beat or 0.0)  # of a worker that crashed
            connection.execute(
                f"UPDATE runs SET state = 'queued', attempt = attempt + 1, queued = {_LAST_IN_QUEUE}, message = NULL, "
                "started = NULL, finished = NULL, heartbeat = NULL, pid = NULL, pid_started = NULL, stop_requested = NULL, "
                "queued_clock = ? WHERE id = ?",
                (time.time(), stamp(), run),
            )
            note_action(connection, "resume", run_id)
        return True


def queue_of(spec: RunSpec) -> str:
    """The queue in which a run waits: that of its device, or `io` for one that only reads and writes files."""
    reads_files = spec.kind in HELPERS and spec.kind not in ("estimate", "analysis")
    return IO_QUEUE if reads_files else queue_device(spec.device)


def queue_device(name: str) -> str:
    """The device whose queue a run waits in if it asks for `name`, which may be `auto` or `cuda`.

    A guess that needs no torch; a wrong guess only makes the run wait unnecessarily.
    """
    if name == "auto":
        if Path("/dev/nvidia0").exists():
            return "cuda:0"
        return "mps" if (platform.system(), platform.machine()) == ("Darwin", "arm64") else "cpu"
    return "cuda:0" if name == "cuda" else name


def _state(connection: sqlite3.Connection, run: int) -> State:
    return connection.execute("SELECT state FROM runs WHERE id = ?", (run,)).fetchone()[0]


def _enter(connection: sqlite3.Connection, run: int, state: State, message: str | None, now: float) -> None:
    connection.execute(
        "UPDATE runs SET state = ?1, message = ?2, started = CASE WHEN ?1 = 'running' THEN coalesce(started, ?3) "
        "ELSE started END, finished = CASE WHEN ?4 THEN ?3 END WHERE id = ?5",
        (state, message, now, state in FINAL, run),
    )
    if state in FINAL and state != "crashed":  # a crashed run may turn out to be alive, with its unit running
        connection.execute("UPDATE units SET state = 'pending' WHERE run = ? AND state = 'running'", (run,))
        close_phases(connection, run, now)

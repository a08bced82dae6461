"""Everything a run produces: tables `units`, `scalars`, `snapshots`, `system`, `results`, `scores`, `files`.

Workers write in batches and pages read every second, so reads can be incremental (`after`) and are thinned to what a chart can
show. `store.py` handles the runs themselves.
"""

import json
import math
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from fda.store.database import Database
from fda.store.records import FileRecord, MethodResult, Score, Stage, Unit, UnitKey

_UNIT_COLUMNS = {
    "state": str,
    "step": int,
    "steps": int,
    "loss": float,
    "best_step": int,
    "seconds": float,
    "message": str,
    "node": str,
}


class Numbers(Database):
    """Reads and writes of everything a run produces."""

    # units -----------------------------------------------------------------------------------------------------------
    def add_units(self, run_id: str, keys: Iterable[tuple[UnitKey, int]]) -> None:
        """Add pending units, as (unit, steps), in this order. An existing unit keeps its state and takes the new steps."""
        with self._writing(run_id) as (connection, run):
            connection.executemany(
                "INSERT INTO units (run, stage, name, block, steps) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET steps = excluded.steps",
                [(run, key.stage, key.name, int(key.block), int(steps)) for key, steps in keys],
            )

    def units(self, run_id: str, stage: Stage | None = None) -> list[Unit]:
        """The run's units in the order they were added."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT stage, name, block, state, step, steps, loss, best_step, seconds, message, node FROM units "
                "WHERE run = ? AND (?2 IS NULL OR stage = ?2) ORDER BY id",
                (self._run_row(connection, run_id), stage),
            ).fetchall()
        return [Unit(UnitKey(*row[:3]), *row[3:]) for row in rows]

    def reset_unit(self, run_id: str, key: UnitKey, **changes: Any) -> None:
        """Delete a unit's scalars and snapshots, make it pending, then set `changes` as `update_unit`, in one transaction."""
        changes = _unit_columns(changes)
        with self._writing(run_id) as (connection, run):
            unit = _unit_row(connection, run, key)
            connection.execute("DELETE FROM scalars WHERE unit = ?", (unit,))
            connection.execute("DELETE FROM snapshots WHERE unit = ?", (unit,))
            connection.execute(
                "UPDATE units SET state = 'pending', step = 0, loss = NULL, best_step = NULL, seconds = NULL, "
                "message = NULL, node = NULL WHERE id = ?",
                (unit,),
            )
            _set_columns(connection, unit, changes)

    def update_unit(self, run_id: str, key: UnitKey, **changes: Any) -> None:
        """Set any of state, step, steps, loss, best_step, seconds, message, node; a NaN reads as None."""
        changes = _unit_columns(changes)
        with self._writing(run_id) as (connection, run):
            _set_columns(connection, _unit_row(connection, run, key), changes)

    def mean_losses(self) -> dict[str, float]:
        """Run id → mean of the final angle losses of its finished units, for every run that has any."""
        with self._reading() as connection:
            return dict(
                connection.execute(
                    "SELECT run_id, avg(loss) FROM units JOIN runs ON runs.id = units.run "
                    "WHERE stage = 'construct' AND units.state = 'done' AND loss IS NOT NULL GROUP BY run"
                ).fetchall()
            )

    # scalars and snapshots -------------------------------------------------------------------------------------------
    def add_scalars(self, run_id: str, key: UnitKey, rows: Iterable[tuple[str, int, float]], **changes: Any) -> None:
        """Add or replace a unit's (key, step, value), and set `changes` as `update_unit`, in one transaction."""
        rows, changes = [(name, int(step), float(value)) for name, step, value in rows], _unit_columns(changes)
        with self._writing(run_id) as (connection, run):
            unit = _unit_row(connection, run, key)
            names = sorted({name for name, _, _ in rows})
            connection.executemany("INSERT OR IGNORE INTO keys (name) VALUES (?)", [(name,) for name in names])
            ids = {name: _key_id(connection, name) for name in names}
            connection.executemany(
                "INSERT OR REPLACE INTO scalars (unit, key, step, value) VALUES (?, ?, ?, ?)",
                [(unit, ids[name], step, value) for name, step, value in rows],
            )
            _set_columns(connection, unit, changes)

    def scalar_names(self, run_id: str, *, stage: Stage = "construct") -> list[str]:
        """Sorted names of the series that units of this stage have."""
        with self._reading() as connection:
            run = self._run_row(connection, run_id)
            rows = connection.execute(
                "SELECT name FROM keys WHERE EXISTS (SELECT 1 FROM units JOIN scalars ON scalars.unit = units.id "
                "AND scalars.key = keys.id WHERE units.run = ? AND units.stage = ?) ORDER BY name",
                (run, stage),
            )
            return [name for (name,) in rows]

    def scalars(
        self,
        run_id: str,
        name: str,
        *,
        stage: Stage = "construct",
        names: Sequence[str] | None = None,
        blocks: Sequence[int] | None = None,
        after: int = -1,
        points: int | None = 1500,
    ) -> dict[UnitKey, tuple[np.ndarray, np.ndarray]]:
        """The series called `name`, such as angle_loss, of each unit that has it: (steps int64 (S,), values float64 (S,)).

        Only steps > `after`. At most `points` a series, thinned so that spikes stay (see `thin`); points=1 reads the last value
        without a scan; None reads everything.
        """
        series = {}
        query = "SELECT step, value FROM scalars WHERE unit = ? AND key = ? AND step > ? ORDER BY step"
        if points == 1:
            query += " DESC LIMIT 1"
        with self._reading() as connection:
            run, key_id = self._run_row(connection, run_id), _key_id(connection, name)
            for unit, key in _selected_units(connection, run, stage, names, blocks):
                rows = connection.execute(query, (unit, key_id, after)).fetchall()
                if rows:
                    steps, values = zip(*rows, strict=True)
                    series[key] = thin(np.array(steps, np.int64), np.array(values, np.float64), points)
        return series

    def add_snapshot(self, run_id: str, key: UnitKey, step: int, kind: str, values: np.ndarray) -> None:
        """Add one array (k,) of a unit, stored as float32; k is the same for all steps of a (unit, kind)."""
        data = np.ascontiguousarray(values, dtype="<f4").reshape(-1).tobytes()
        with self._writing(run_id) as (connection, run):
            connection.execute(
                "INSERT OR REPLACE INTO snapshots (unit, kind, step, data) VALUES (?, ?, ?, ?)",
                (_unit_row(connection, run, key), kind, int(step), data),
            )

    def snapshots(
        self, run_id: str, kind: str, *, names: Sequence[str] | None = None, blocks: Sequence[int] | None = None
    ) -> dict[UnitKey, tuple[np.ndarray, np.ndarray]]:
        """The snapshots called `kind` of each unit that has any: (steps int64 (S,), values float32 (S, k))."""
        series = {}
        query = "SELECT step, data FROM snapshots WHERE unit = ? AND kind = ? ORDER BY step"
        with self._reading() as connection:
            run = self._run_row(connection, run_id)
            for unit, key in _selected_units(connection, run, None, names, blocks):
                rows = connection.execute(query, (unit, kind)).fetchall()
                if rows:
                    steps, data = zip(*rows, strict=True)
                    values = np.frombuffer(b"".join(data), "<f4").reshape(len(rows), -1)
                    series[key] = np.array(steps, np.int64), values.astype(np.float32)
        return series

    # the machine -----------------------------------------------------------------------------------------------------
    def add_system(self, run_id: str, values: dict[str, float]) -> None:
        """Add readings (name → value) at the current time."""
        now = time.time()
        with self._writing(run_id) as (connection, run):
            connection.executemany(
                "INSERT OR REPLACE INTO system (run, time, key, value) VALUES (?, ?, ?, ?)",
                [(run, now, key, float(value)) for key, value in values.items()],
            )

    def system(self, run_id: str, *, last: int = 300) -> list[tuple[float, str, float]]:
        """(time, key, value) of the `last` times that have readings, oldest first."""
        with self._reading() as connection:
            return connection.execute(
                "SELECT time, key, value FROM system WHERE run = ?1 AND time >= (SELECT min(time) FROM "
                "(SELECT DISTINCT time FROM system WHERE run = ?1 ORDER BY time DESC LIMIT ?2)) ORDER BY time, key",
                (self._run_row(connection, run_id), last),
            ).fetchall()

    # results ---------------------------------------------------------------------------------------------------------
    def add_result(self, run_id: str, result: MethodResult, scores: Sequence[Score] = ()) -> None:
        """Add one method with all its scores. An existing result of that method is replaced and keeps its position."""
        peak = None if result.peak_bytes is None else int(result.peak_bytes)
        settings = json.dumps(result.settings)
        with self._writing(run_id) as (connection, run):
            connection.execute(
                "INSERT INTO results (run, method, state, settings, seconds, peak_bytes, message) "
                "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET state = excluded.state, "
                "settings = excluded.settings, seconds = excluded.seconds, peak_bytes = excluded.peak_bytes, "
                "message = excluded.message",
                (run, result.method, result.state, settings, result.seconds, peak, result.message),
            )
            connection.execute("DELETE FROM scores WHERE run = ? AND method = ?", (run, result.method))
            connection.executemany(
                "INSERT INTO scores (run, method, task, split, metric, value, count) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(run, s.method, s.task, s.split, s.metric, float(s.value), int(s.count)) for s in scores],
            )

    def results(self, run_id: str) -> tuple[list[MethodResult], list[Score]]:
        """(methods in the order they were first added, all scores)."""
        with self._reading() as connection:
            run = self._run_row(connection, run_id)
            methods = connection.execute(
                "SELECT method, state, settings, seconds, peak_bytes, message FROM results WHERE run = ? ORDER BY id",
                (run,),
            ).fetchall()
            scores = connection.execute(
                "SELECT method, task, split, metric, value, count FROM scores WHERE run = ? ORDER BY id", (run,)
            ).fetchall()
        return (
            [
                MethodResult(method, state, json.loads(settings), seconds, peak_bytes, message)
                for method, state, settings, seconds, peak_bytes, message in methods
            ],
            [
                Score(method, task, split, metric, math.nan if value is None else value, count)
                for method, task, split, metric, value, count in scores
            ],
        )

    def averages(self, run_id: str | None = None) -> dict[str, list[tuple[str, float, int]]]:
        """Run id → (method, mean score, number of scores) of each finished method, for every run that has any, or this one."""
        averages: dict[str, list[tuple[str, float, int]]] = {}
        one = "" if run_id is None else "AND scores.run = (SELECT id FROM runs WHERE run_id = ?) "  # found by the index
        with self._reading() as connection:
            for scored_run, *average in connection.execute(
                "SELECT run_id, scores.method, avg(value), count(value) FROM scores JOIN runs ON runs.id = scores.run "
                "JOIN results ON results.run = scores.run AND results.method = scores.method "
                f"WHERE results.state = 'done' {one}GROUP BY scores.run, scores.method HAVING count(value) > 0",
                () if run_id is None else (run_id,),
            ):
                averages.setdefault(scored_run, []).append(tuple(average))
        return averages

    # files -----------------------------------------------------------------------------------------------------------
    def add_file(self, run_id: str, path: str, record: FileRecord) -> None:
        """Add or replace the record of a finished file; `path` is relative to the run's folder."""
        with self._writing(run_id) as (connection, run):
            connection.execute(
                "INSERT OR REPLACE INTO files (run, path, bytes, modified, sha256) VALUES (?, ?, ?, ?, ?)",
                (run, path, record.bytes, record.modified, record.sha256),
            )

    def forget_file(self, run_id: str, path: str) -> None:
        """Delete the record of a file that was removed on purpose."""
        with self._writing(run_id) as (connection, run):
            connection.execute("DELETE FROM files WHERE run = ? AND path = ?", (run, path))

    def files(self, run_id: str) -> dict[str, FileRecord]:
        """Path below the run's folder → record of each finished file, sorted."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT path, bytes, modified, sha256 FROM files WHERE run = ? ORDER BY path",
                (self._run_row(connection, run_id),),
            ).fetchall()
        return {path: FileRecord(size, modified, sha256) for path, size, modified, sha256 in rows}


def thin(steps: np.ndarray, values: np.ndarray, points: int | None) -> tuple[np.ndarray, np.ndarray]:
    """At most `points` of a series (S,), keeping each bucket's lowest and highest value and the last point."""
    count = len(steps)
    if points is None or count <= points:
        return steps, values
    buckets = (points - 1) // 2
    if buckets < 1:
        return steps[-1:], values[-1:]
    width = math.ceil((count - 1) / buckets)
    rows = math.ceil((count - 1) / width)
    padded = np.full(rows * width, np.nan)
    padded[: count - 1] = values[:-1]
    padded = padded.reshape(rows, width)
    absent = np.isnan(padded)  # an all-NaN bucket keeps its first point, so that the chart shows the gap
    lowest = np.where(absent, np.inf, padded).argmin(axis=1)
    highest = np.where(absent, -np.inf, padded).argmax(axis=1)
    first = np.arange(rows) * width
    chosen = np.unique(np.concatenate([first + lowest, first + highest, [count - 1]]))
    return steps[chosen], values[chosen]


def _unit_row(connection: sqlite3.Connection, run: int, key: UnitKey) -> int:
    row = connection.execute(
        "SELECT id FROM units WHERE run = ? AND stage = ? AND name = ? AND block = ?",
        (run, key.stage, key.name, int(key.block)),
    ).fetchone()
    if row is None:
        raise KeyError(f"{key} was not added to the run")
    return row[0]


def _unit_columns(changes: dict[str, Any]) -> dict[str, Any]:
    """Column → value as SQLite stores it. TypeError for a column that units do not have."""
    if unknown := changes.keys() - _UNIT_COLUMNS.keys():
        raise TypeError(f"a unit has no {', '.join(sorted(unknown))}")
    return {name: None if value is None else _UNIT_COLUMNS[name](value) for name, value in changes.items()}


def _set_columns(connection: sqlite3.Connection, unit: int, changes: dict[str, Any]) -> None:
    if changes:
        assignments = ", ".join(f"{name} = ?" for name in changes)
        connection.execute(f"UPDATE units SET {assignments} WHERE id = ?", (*changes.values(), unit))


def _key_id(connection: sqlite3.Connection, name: str) -> int | None:
    row = connection.execute("SELECT id FROM keys WHERE name = ?", (name,)).fetchone()
    return row and row[0]


def _selected_units(
    connection: sqlite3.Connection,
    run: int,
    stage: Stage | None,
    names: Sequence[str] | None,
    blocks: Sequence[int] | None,
) -> Iterator[tuple[int, UnitKey]]:
    rows = connection.execute("SELECT id, stage, name, block FROM units WHERE run = ? ORDER BY id", (run,)).fetchall()
    for unit, unit_stage, name, block in rows:
        wanted = stage in (None, unit_stage) and (names is None or name in names)
        if wanted and (blocks is None or block in blocks):
            yield unit, UnitKey(unit_stage, name, block)

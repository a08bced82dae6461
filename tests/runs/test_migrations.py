"""Stores of earlier versions are brought up to date with every run in them, or told in one sentence why not."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from fda.errors import UserError
from fda.processes import start_time
from fda.store import migrations
from fda.store.schema import SCHEMA, SCHEMA_VERSION
from fda.store.store import MethodResult, Score, Store, UnitKey
from tests.support.runs import spec

EARLIER = {number: (Path(__file__).parent / f"schema_v{number}.sql").read_text() for number in (1, 2, 3, 4)}
RUN = "20261123-041500-ab12"
KEY = UnitKey("construct", "red", 0)


@pytest.fixture(params=EARLIER)
def store(fda_home, request) -> Store:
    """A store as an earlier schema wrote it: a run that is done, with a unit, numbers, a snapshot, a score and a reading."""
    fda_home.mkdir()
    with closing(sqlite3.connect(fda_home / "fda.db", isolation_level=None)) as one:
        one.execute("PRAGMA journal_mode = WAL")
        one.executescript(f"BEGIN; {EARLIER[request.param]} PRAGMA user_version = {request.param}; COMMIT;")
        one.execute(
            "INSERT INTO runs (run_id, kind, state, spec, device, created, queued, finished, pid, pid_started) "
            "VALUES (?, 'construct', 'done', ?, 'cpu', 100, 100, 200, 7, 1.5)",
            (RUN, spec().model_dump_json()),
        )
        one.execute(
            "INSERT INTO units (run, stage, name, block, state, step, steps, loss, best_step) "
            "VALUES (1, 'construct', 'red', 0, 'done', 5, 5, 0.25, 4)"
        )
        one.execute("INSERT INTO keys (name) VALUES ('angle_loss')")
        one.execute("INSERT INTO scalars VALUES (1, 1, 0, 0.5), (1, 1, 4, 0.25)")
        one.execute("INSERT INTO snapshots VALUES (1, 'spectrum', 4, ?)", (np.array([1, 0.5], "<f4").tobytes(),))
        one.execute("INSERT INTO results (run, method, state, settings, seconds) VALUES (1, 'ta', 'done', '{}', 3)")
        one.execute(
            "INSERT INTO scores (run, method, task, split, metric, value, count) "
            "VALUES (1, 'ta', 'red', 'test', 'accuracy', 0.75, 40)"
        )
        one.execute("INSERT INTO system VALUES (1, 150, 'memory_bytes', 9)")
    return Store(fda_home)


def tables(connection: sqlite3.Connection) -> dict[str, list[tuple]]:
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: connection.execute(f"PRAGMA table_info({name})").fetchall() for name in sorted(names)}


def version(store: Store) -> int:
    with closing(sqlite3.connect(store.path)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def test_a_store_of_an_earlier_schema_keeps_everything(store):
    run = store.run(RUN)
    assert (run.state, run.spec, run.finished, run.units_done, run.units_total) == ("done", spec(), 200, 1, 1)
    unit = store.units(RUN)[0]
    assert (unit.key, unit.state, unit.loss, unit.best_step) == (KEY, "done", 0.25, 4)
    steps, values = store.scalars(RUN, "angle_loss")[KEY]
    assert steps.tolist() == [0, 4] and values.tolist() == [0.5, 0.25]
    assert store.snapshots(RUN, "spectrum")[KEY][1].tolist() == [[1, 0.5]]
    assert store.results(RUN) == (
        [MethodResult("ta", "done", {}, 3, None, None)],
        [Score("ta", "red", "test", "accuracy", 0.75, 40)],
    )
    assert store.system(RUN) == [(150, "memory_bytes", 9)]
    assert store.files(RUN) == {}
    assert store.phases(RUN) == []
    assert (run.name, run.note, run.tags) == (None, None, ())
    assert run.started_by is None
    store.describe(RUN, name="short steps")
    assert store.run(RUN).name == "short steps"
    assert version(store) == SCHEMA_VERSION


def test_a_migrated_store_has_the_tables_of_a_new_one(store):
    store.run(RUN)
    with closing(sqlite3.connect(store.path)) as migrated, closing(sqlite3.connect(":memory:")) as new:
        new.executescript(SCHEMA)
        assert tables(migrated) == tables(new)


def test_a_step_that_fails_changes_nothing(store, monkeypatch):
    def broken(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE runs ADD COLUMN half_done TEXT")
        raise sqlite3.OperationalError("no such table: nowhere")

    before = version(store)
    monkeypatch.setattr(migrations, "STEPS", {before: broken})
    with pytest.raises(UserError, match="damaged"):
        store.run(RUN)
    monkeypatch.undo()
    assert version(store) == before
    assert store.run(RUN).state == "done"


def test_a_worker_of_the_earlier_version_is_waited_for(store):
    before = version(store)
    with closing(sqlite3.connect(store.path)) as connection, connection:
        pid = os.getpid()
        connection.execute("UPDATE runs SET state = 'running', pid = ?, pid_started = ?", (pid, start_time(pid)))
    with pytest.raises(UserError, match=f"whose run {RUN} is still at work .process {pid}.: wait until it has ended"):
        store.runs()
    assert version(store) == before


def test_many_processes_may_be_the_first_to_open_an_older_store(store):
    code = f"from fda.store.store import Store; print(Store().run({RUN!r}).units_done)"
    children = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [child.communicate(timeout=60)[0] for child in children] == ["1\n"] * 3

"""A backup made while runs work is an FDA_HOME itself, and resumes; old runs are pruned, and their space is given back."""

import json
import os
import shutil
import sqlite3
import threading
from contextlib import closing

import numpy as np
import pytest

from fda.errors import UserError
from fda.jobs import lifecycle
from fda.jobs.doctor import examine
from fda.jobs.liveness import LiveStore
from fda.processes import start_time
from fda.stages.worker import run_here
from fda.store.backup import back_up
from fda.store.finished import keep
from fda.store.store import MethodResult, Score, Store
from tests.support.runs import UNITS, spec, sql, units

DAY = 86_400


@pytest.fixture
def store(fda_home) -> Store:
    return Store(fda_home)


def add_anchors(store: Store, run_id: str, number: int) -> None:
    path = store.run_dir(run_id) / "anchors" / "red" / f"{number}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(1000))
    keep(store, run_id, path)


def finished(store: Store, seed: int, *, age: float = 0.0, score: float | None = None) -> str:
    run_id = store.create_run(spec(seed=seed))
    store.set_state(run_id, "running")
    if score is not None:
        scores = [Score("fda:ta", "red", "test", "accuracy", score, 9)]
        store.add_result(run_id, MethodResult("fda:ta", "done", {}, 1.0, 1, None), scores)
    store.set_state(run_id, "done")
    sql(store, "UPDATE runs SET finished = finished - ? WHERE run_id = ?", age, run_id)
    return run_id


def test_a_backup_made_while_a_run_works_is_whole_and_resumes_from_its_finished_units(store, tmp_path):
    old, deleted, run_id = finished(store, 1), finished(store, 2), store.create_run(spec())
    add_anchors(store, old, 0)
    store.mark_deleted(deleted)
    store.claim_process(run_id, os.getpid(), start_time(os.getpid()))
    store.set_state(run_id, "running")
    store.add_units(run_id, [(key, 10) for key in UNITS])
    over, began = threading.Event(), threading.Event()

    def work() -> None:
        for number, key in enumerate(UNITS * 1000):
            store.update_unit(run_id, key, state="running", step=number % 10)
            if number < len(UNITS):
                add_anchors(store, run_id, number)
                store.update_unit(run_id, key, state="done")
            if number == 2:
                began.set()
            if over.is_set():
                return

    worker = threading.Thread(target=work)
    worker.start()
    began.wait()
    made = back_up(store, tmp_path / "copy")
    over.set()
    worker.join()
    assert (made.runs, made.damaged) == (2, ())

    copy = Store(tmp_path / "copy")
    assert sorted(run.run_id for run in LiveStore(copy.home).all_stored()) == sorted([old, run_id])
    run = copy.run(run_id)
    assert (run.state, run.pid) == ("cancelled", None) and "when this backup was made" in run.message
    assert [one.text for one in examine(copy) if not one.good] == []
    assert store.run(run_id).state == "running"  # nothing happened to the original
    lifecycle.reopen(copy, run_id)
    assert run_here(copy, run_id, execute=units) == "done" and store.run(run_id).state == "running"


def test_damage_that_the_backup_takes_over_is_named(store, tmp_path, fda):
    run_id = finished(store, 1)
    add_anchors(store, run_id, 0)
    (store.run_dir(run_id) / "anchors/red/0.safetensors").write_bytes(b"")
    done = fda("backup", tmp_path / "copy")
    assert done.returncode == 1 and f"{run_id}/anchors/red/0.safetensors is empty instead of 1,000" in done.stdout
    assert Store(tmp_path / "copy").run(run_id).state == "done"


def test_a_backup_is_made_anew_and_nowhere_else(store, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="has no runs yet"):
        back_up(store, tmp_path / "copy")
    finished(store, 1)
    (tmp_path / "there").mkdir()
    for place, why in ((tmp_path / "there", "is already there"), (store.home / "copy", "lies in .* itself")):
        with pytest.raises(UserError, match=why):
            back_up(store, place)
    monkeypatch.setattr(shutil, "copy2", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match="disk is full"):
        back_up(store, tmp_path / "copy")
    assert not any("copy" in path.name for path in tmp_path.iterdir())


# retention


def test_prune_keeps_the_young_the_best_the_named_and_what_they_read(store, fda):
    young, named = finished(store, 1, age=9 * DAY), finished(store, 2, age=99 * DAY)
    best, worse = (finished(store, seed, age=99 * DAY, score=score) for seed, score in ((3, 0.9), (4, 0.2)))
    read, plain = finished(store, 5, age=99 * DAY), finished(store, 6, age=99 * DAY)
    waiting = store.create_run(spec(seed=7))
    store.describe(named, name="for the paper")
    comparing = json.loads(sql(store, "SELECT spec FROM runs WHERE run_id = ?", best)[0][0]) | {"anchors_run": read}
    sql(store, "UPDATE runs SET spec = ? WHERE run_id = ?", json.dumps(comparing), best)
    keep_one = ("runs", "prune", "--older-than", "90d", "--keep-best", 1, "--keep-named")

    told = fda(*keep_one).stdout
    assert {line.split()[0] for line in told.splitlines()[:-1]} == {worse, plain}
    assert told.splitlines()[-1].startswith("2 runs of 7, ") and "--delete" in told
    assert len(store.all_stored()) == 7  # only listed

    assert fda(*keep_one, "--delete").stdout.count("deleted ") == 2
    assert {run.run_id for run in store.all_stored()} == {young, named, best, read, waiting}
    assert not store.run_dir(plain).exists()
    assert fda(*keep_one, "--also-named", "--dry-run").stdout.startswith(named)
    assert fda("runs", "prune", "--older-than", "a while").returncode == 2


@pytest.mark.parametrize("older", [False, True], ids=["this version's store", "an earlier version's store"])
def test_deleting_a_run_frees_its_space_in_the_store(store, fda, older):
    if older:
        store.create()
        as_versions_before_made_it(store)
    small, large = finished(store, 1), finished(store, 2)
    store.add_units(large, [(UNITS[0], 9)])
    for step in range(20):
        store.add_snapshot(large, UNITS[0], step, "spectrum", np.ones(300_000))
    sql(store, "PRAGMA wal_checkpoint(TRUNCATE)")
    size = store.path.stat().st_size
    assert size > 20 << 20
    fda("runs", "delete", large, "--now")
    if older:
        assert store.free_bytes() > 20 << 20 and not store.gives_back()
        assert "MiB less" in fda("doctor", "--repair").stdout and store.gives_back()
    assert store.path.stat().st_size < 1 << 20 and store.free_bytes() == 0
    assert store.run(small).state == "done" and store.fault() is None


def as_versions_before_made_it(store: Store) -> None:
    """Without giving pages back."""
    with closing(sqlite3.connect(store.path, isolation_level=None)) as connection:
        for statement in ("PRAGMA auto_vacuum = NONE", "VACUUM"):
            connection.execute(statement)

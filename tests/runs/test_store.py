"""The store: what is written is read, whole or not at all, by any number of processes, and fast. Numbers: test_numbers."""

import errno
import json
import multiprocessing
import os
import re
import shutil
import sqlite3
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fda.errors import UserError
from fda.processes import start_time
from fda.store.spec import RunSpec
from fda.store.store import MethodResult, Score, Store, UnitKey, queue_device
from tests.support.runs import spec, sql

KEY = UnitKey("construct", "red", 0)
OTHER = UnitKey("construct", "red", 1)
UNKNOWN = "20261123-041500-ab12"


@pytest.fixture
def store(fda_home) -> Store:
    return Store(fda_home)


@pytest.fixture
def run_id(store) -> str:
    run_id = store.create_run(spec())
    store.add_units(run_id, [(KEY, 100), (OTHER, 100)])
    return run_id


# runs


def test_a_new_run_is_queued_and_its_spec_lies_whole_in_its_folder(store):
    run_id = store.create_run(spec("cuda:1", seed=3))
    run = store.run(run_id)
    assert (run.state, run.kind, run.device, run.attempt) == ("queued", "construct", "cuda:1", 1)
    assert run.active and run.spec == spec("cuda:1", seed=3)
    assert abs(run.created - time.time()) < 5 and run.started is run.finished is run.pid is None
    assert [path.name for path in store.run_dir(run_id).iterdir()] == ["spec.json"]
    assert RunSpec.model_validate_json((store.run_dir(run_id) / "spec.json").read_text()) == run.spec


def test_a_run_is_claimed_by_one_worker_at_a_time(store):
    run_id, other = store.create_run(spec()), 2**22 + 1  # a process that does not exist
    store.claim_process(run_id, other, 1.5)
    store.claim_process(run_id, os.getpid(), start_time(os.getpid()))  # the first has died
    with pytest.raises(UserError, match=f"is at work already .process {os.getpid()}."):
        store.claim_process(run_id, other, 1.5)
    assert store.run(run_id).pid == os.getpid()


def test_run_ids_are_distinct_sortable_file_names(store, monkeypatch):
    suffixes = iter(["aaaa", "aaaa", "bbbb", "aaaa"])
    monkeypatch.setattr("fda.store.store.secrets.token_hex", lambda _: next(suffixes))
    moments = iter([1.8e9] * 4 + [1.8e9 + 1] * 2)  # each run is created and recorded
    monkeypatch.setattr("fda.store.store.time.time", lambda: next(moments))
    made = [store.create_run(spec())]
    shutil.rmtree(store.run_dir(made[0]))  # by hand: its id is still taken
    made += [store.create_run(spec()) for _ in range(2)]
    assert made == ["20270115-080000-aaaa", "20270115-080000-bbbb", "20270115-080001-aaaa"]
    assert [run.run_id for run in store.runs()] == made[::-1]


@pytest.mark.parametrize(
    "name", [UNKNOWN, "x", "", "../../etc", f"{UNKNOWN}/..", f"{UNKNOWN}\n", "٢٠٢٦١١٢٣-٠٤١٥٠٠-ab12"]
)
def test_an_id_that_is_no_run_says_so(store, name):
    store.create_run(spec())
    readers = (store.run, store.units, store.version, store.queue_position, store.stop_requested, store.results)
    for call in (*readers, store.delete_run, store.request_stop, lambda name: store.set_state(name, "done")):
        with pytest.raises(UserError, match=f"There is no run {re.escape(repr(name))} in .*runs list` shows"):
            call(name)
    if name != UNKNOWN:
        with pytest.raises(UserError, match="There is no run"):
            store.run_dir(name)


def test_runs_come_newest_first_with_their_progress(store):
    first, second, third = (store.create_run(spec(seed=seed)) for seed in range(3))
    store.add_units(second, [(KEY, 5), (OTHER, 5)])
    store.update_unit(second, KEY, state="done")
    store.set_state(first, "done")
    assert [(run.run_id, run.units_done, run.units_total) for run in store.runs()] == [
        (third, 0, 0),
        (second, 1, 2),
        (first, 0, 0),
    ]
    assert [run.run_id for run in store.runs(states=["queued"])] == [third, second]
    assert [run.run_id for run in store.runs(states=[])] == []
    assert [run.run_id for run in store.runs(limit=1)] == [third]


def test_a_full_disk_leaves_nothing_of_a_new_run(store, monkeypatch):
    kept = store.create_run(spec())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(UserError, match="its disk is full: free some space"):
        store.create_run(spec(seed=1))
    monkeypatch.undo()
    assert [run.run_id for run in store.runs()] == [kept]
    assert os.listdir(store.home / "runs") == [kept]


def test_a_full_disk_under_the_database_is_one_sentence(store, run_id, monkeypatch):
    connect = sqlite3.connect

    def small(*args: object, **options: object) -> sqlite3.Connection:
        connection = connect(*args, **options)
        connection.execute("PRAGMA max_page_count = 1")  # SQLite's own way to be full
        return connection

    monkeypatch.setattr("fda.store.database.sqlite3.connect", small)
    with pytest.raises(UserError, match="disk is full: free some space"):
        store.add_scalars(run_id, KEY, [("angle_loss", step, 1.0) for step in range(10_000)])
    monkeypatch.undo()
    assert store.scalars(run_id, "angle_loss") == {}


def test_a_home_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written: check its permissions, or set FDA_HOME"):
        Store(tmp_path / "file" / "home").create_run(spec())


def test_a_damaged_or_newer_file_is_one_sentence(store):
    store.home.mkdir()
    store.path.write_bytes(b"no database at all" * 100)
    with pytest.raises(UserError, match=r"fda\.db is no database: `python -m fda doctor --repair` moves it aside"):
        store.runs()
    store.path.unlink()
    store.create_run(spec())
    sql(store, "PRAGMA user_version = 99")
    with pytest.raises(UserError, match="schema 99, this one reads 5"):
        store.runs()


def test_delete_removes_rows_and_folder_of_this_run_only(store, run_id):
    other = store.create_run(spec(seed=1))
    for one in (run_id, other):
        store.add_units(one, [(KEY, 5)])
        store.add_scalars(one, KEY, [("angle_loss", 0, 1.0)])
        store.add_snapshot(one, KEY, 0, "spectrum", np.ones(3))
        store.add_system(one, {"memory_bytes": 1})
        store.add_result(
            one, MethodResult("ta", "done", {}, 1, 1, None), [Score("ta", "red", "test", "accuracy", 1, 1)]
        )
    with pytest.raises(UserError, match="is queued: stop it first"):
        store.delete_run(run_id)
    store.set_state(run_id, "cancelled")
    store.delete_run(run_id)
    for table in ("runs", "scalars", "snapshots", "system", "results", "scores", "units"):
        assert len(sql(store, f"SELECT * FROM {table}")) == 1, table
    assert os.listdir(store.home / "runs") == [other]
    assert [run.run_id for run in store.runs()] == [other]


# lifecycle


def test_set_state_compares_and_sets_and_keeps_the_times(store, run_id):
    assert not store.set_state(run_id, "done", only_from=["running", "stopping"])
    assert store.run(run_id).state == "queued"
    assert store.set_state(run_id, "running", only_from=["queued"])
    run = store.run(run_id)
    assert run.state == "running" and run.started >= run.created and run.finished is None
    store.update_unit(run_id, KEY, state="running")
    assert store.set_state(run_id, "failed", "it broke.")
    ended = store.run(run_id)
    assert (ended.state, ended.message, ended.started) == ("failed", "it broke.", run.started)
    assert ended.finished >= run.started and not ended.active
    assert store.units(run_id)[0].state == "pending"  # no unit runs in a run that has ended


def test_a_stop_cancels_a_queued_run_and_flags_a_running_one(store, run_id):
    store.request_stop(run_id)
    assert store.run(run_id).state == "cancelled" and store.run(run_id).finished is not None
    store.requeue(run_id)
    assert not store.stop_requested(run_id)
    store.set_state(run_id, "running")
    store.request_stop(run_id)
    first = store.run(run_id)
    store.request_stop(run_id)
    assert first.state == "stopping" and store.stop_requested(run_id)
    assert store.run(run_id).stop_requested == first.stop_requested  # the second click does not restart the clock
    store.set_state(run_id, "done")
    store.request_stop(run_id)
    assert store.run(run_id).state == "done"


def test_requeue_starts_a_new_attempt_of_an_ended_run_only(store, run_id):
    store.claim_process(run_id, 7, 1.5)
    store.set_state(run_id, "running")
    store.update_unit(run_id, KEY, state="done")
    store.update_unit(run_id, OTHER, state="running")
    assert not store.requeue(run_id)
    store.set_state(run_id, "crashed", "gone")
    assert store.requeue(run_id)
    run = store.run(run_id)
    assert (run.state, run.attempt, run.pid, run.started, run.finished, run.message) == ("queued", 2, *[None] * 4)
    assert [unit.state for unit in store.units(run_id)] == ["done", "pending"]
    store.set_state(run_id, "done")
    assert not store.requeue(run_id)


def test_a_beat_revives_a_crashed_run_of_the_same_process_only(store, run_id):
    store.claim_process(run_id, 7, 1.5)
    store.set_state(run_id, "running")
    store.set_state(run_id, "crashed", "heartbeat lost")
    assert not store.beat(run_id, 8)
    assert store.run(run_id).state == "crashed"
    assert store.beat(run_id, 7)
    run = store.run(run_id)
    assert (run.state, run.message, run.finished) == ("running", None, None)
    store.request_stop(run_id)
    store.set_state(run_id, "crashed")
    store.beat(run_id, 7)
    assert store.run(run_id).state == "stopping"
    store.set_state(run_id, "failed")
    assert not store.beat(run_id, 7)
    assert store.run(run_id).state == "failed"


def test_a_run_waiting_in_the_queue_is_revived_into_the_queue(store, run_id):
    store.set_state(run_id, "crashed", "did not start")
    store.claim_process(run_id, 7, 1.5)
    store.beat(run_id, 7)
    assert store.run(run_id).state == "queued"


def test_only_a_queued_run_can_be_claimed(store, run_id):
    store.claim_process(run_id, 7, 1.5)
    assert (store.run(run_id).pid, store.run(run_id).pid_started) == (7, 1.5)
    store.set_state(run_id, "running")
    with pytest.raises(UserError, match="is running, not queued"):
        store.claim_process(run_id, 8, 2.5)
    assert store.run(run_id).pid == 7


def test_the_queue_is_one_a_device_in_order_of_joining_it(store):
    a, b, other, c = (
        store.create_run(spec(device, seed)) for seed, device in enumerate(["cpu", "cpu", "cuda:0", "cpu"])
    )
    assert [store.queue_position(run) for run in (a, b, other, c)] == [1, 2, 1, 3]
    store.set_state(a, "running")
    assert [store.queue_position(run) for run in (a, b, c)] == [None, 1, 2]
    store.set_state(a, "failed")
    store.requeue(a)  # resumed: behind those who waited
    assert [store.queue_position(run) for run in (a, b, c)] == [3, 1, 2]


def test_auto_waits_with_the_device_it_will_be(store, monkeypatch):
    assert queue_device("cuda") == "cuda:0" and queue_device("cuda:1") == "cuda:1"
    monkeypatch.setattr(Path, "exists", lambda self: str(self) == "/dev/nvidia0")
    assert queue_device("auto") == "cuda:0"
    monkeypatch.undo()
    run = store.run(store.create_run(spec("auto")))
    assert run.device != "auto" and run.spec.device == "auto"


WRITES = {
    "set_state": lambda s, r: s.set_state(r, "running"),
    "claim_process": lambda s, r: s.claim_process(r, 1, 1),
    "request_stop": lambda s, r: s.request_stop(r),
    "add_units": lambda s, r: s.add_units(r, [(UnitKey("adapt", "fda:ta", 0), 3)]),
    "reset_unit": lambda s, r: s.reset_unit(r, KEY),
    "update_unit": lambda s, r: s.update_unit(r, KEY, step=1),
    "add_scalars": lambda s, r: s.add_scalars(r, KEY, [("angle_loss", 0, 1.0)]),
    "add_snapshot": lambda s, r: s.add_snapshot(r, KEY, 0, "spectrum", np.ones(2)),
    "add_system": lambda s, r: s.add_system(r, {"memory_bytes": 1}),
    "add_result": lambda s, r: s.add_result(r, MethodResult("ta", "done", {}, 1, 1, None)),
}


@pytest.mark.parametrize("write", WRITES)
def test_every_write_moves_the_version_of_its_run_alone(store, run_id, write):
    other = store.create_run(spec(seed=1))
    before, others = store.version(run_id), store.version(other)
    WRITES[write](store, run_id)
    assert store.version(run_id) > before and store.version(other) == others


def test_a_heartbeat_alone_does_not_move_the_version_but_a_revival_does(store, run_id):
    store.claim_process(run_id, 7, 1.5)
    before = store.version(run_id)
    store.beat(run_id, 7)
    assert store.version(run_id) == before
    store.set_state(run_id, "crashed")
    crashed = store.version(run_id)
    store.beat(run_id, 7)
    assert store.version(run_id) > crashed


# many at once


def _write_much(home: str, number: int) -> str:
    store = Store(Path(home))
    run_id = store.create_run(spec(seed=number))
    store.add_units(run_id, [(KEY, 1000)])
    for batch in range(40):
        store.add_scalars(run_id, KEY, [("angle_loss", batch * 10 + i, number) for i in range(10)])
        store.update_unit(run_id, KEY, step=batch * 10 + 10)
    return run_id


def test_processes_create_and_fill_one_store_together(fda_home):
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        made = list(pool.map(_write_much, [str(fda_home)] * 8, range(8)))
    store = Store(fda_home)
    assert {run.run_id for run in store.runs()} == set(made)
    for number, run_id in enumerate(made):
        steps, values = store.scalars(run_id, "angle_loss")[KEY]
        assert steps.tolist() == list(range(400)) and set(values) == {number}


def test_many_may_be_the_first_to_open_a_store(tmp_path):
    failures = []
    for attempt in range(5):
        together = threading.Barrier(8)

        def first(home: Path, together: threading.Barrier = together) -> None:
            together.wait()
            try:
                Store(home).runs()
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=first, args=(tmp_path / str(attempt),)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def test_threads_share_one_store_object(store, run_id):
    failures = []

    def work(key: UnitKey) -> None:
        try:
            for step in range(50):
                store.add_scalars(run_id, key, [("angle_loss", step, 1.0)])
                store.runs()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(key,)) for key in (KEY, OTHER)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [len(steps) for steps, _ in store.scalars(run_id, "angle_loss").values()] == [50, 50]


def test_a_large_store_still_opens_at_once(store):
    """A part of what it is built for; the whole (200 runs, 11 million rows) was measured with the same bounds."""
    made = [store.create_run(spec(seed=seed)) for seed in range(30)]
    keys = [UnitKey("construct", f"task{task}", block) for task in range(8) for block in range(12)]
    for run_id in made:
        store.add_units(run_id, [(key, 100) for key in keys])
    store.add_scalars(made[0], keys[0], [("angle_loss", 0, 1.0)])
    sql(
        store,
        "WITH RECURSIVE step(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM step WHERE i < 199) "
        "INSERT OR IGNORE INTO scalars SELECT units.id, keys.id, i, i FROM units, keys, step",
    )
    assert sql(store, "SELECT count(*) FROM scalars") == [(30 * 96 * 200,)]
    for read in (store.runs, lambda: store.units(made[15]), lambda: store.scalars(made[15], "angle_loss")):
        began = time.perf_counter()
        assert len(read()) in (30, 96)
        assert time.perf_counter() - began < 0.2


def test_spec_json_alone_repeats_the_run(store):
    run_id = store.create_run(spec(seed=5))
    content = json.loads((store.run_dir(run_id) / "spec.json").read_text())
    again = store.create_run(RunSpec.model_validate(content))
    assert store.run(again).spec == store.run(run_id).spec

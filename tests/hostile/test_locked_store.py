"""A store that is locked, or whose writer is suspended: readers read on, workers work on, and each says what it waits for."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager

import pytest

from fda.errors import UserError
from fda.home import REPO
from fda.jobs import lifecycle as jobs
from fda.jobs.liveness import LiveStore
from fda.jobs.patient import PatientStore
from fda.processes import is_alive, is_suspended, start_time
from fda.stages.worker import run_here
from fda.store.refusals import StoreBusy
from fda.store.store import Store, UnitKey
from tests.support.runs import UNITS, age_beat, spec, sql, wait_for

KEY = UnitKey("construct", "red", 0)
IN_TRANSACTION = """
import os, sqlite3, sys, time
from fda.jobs.beats import Beats
from fda.processes import start_time
from fda.store.store import Store
store, run_id = Store(), sys.argv[1]
store.claim_process(run_id, os.getpid(), start_time(os.getpid()))
store.set_state(run_id, "running")
Beats(store.run_dir(run_id)).beat()
connection = sqlite3.connect(store.path, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE runs SET version = version + 1")
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def store(fda_home) -> Store:
    return Store(fda_home)


@contextmanager
def locked(store: Store):
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@pytest.fixture
def suspended(store):
    """A run whose worker was suspended in the middle of a transaction: (run id, pid)."""
    run_id = store.create_run(spec())
    child = subprocess.Popen(
        [sys.executable, "-c", IN_TRANSACTION, run_id],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPO,
        start_new_session=True,
    )
    assert child.stdout.readline() == "held\n"
    os.kill(child.pid, signal.SIGSTOP)
    wait_for(lambda: is_suspended(child.pid, start_time(child.pid)), 5)
    yield run_id, child.pid
    child.kill()
    child.wait()
    child.stdout.close()


def test_readers_of_a_locked_store_do_not_wait(store):
    run_id = store.create_run(spec())
    with locked(store):
        shown = LiveStore(store.home, patience=0)  # any wait for the lock would fail at once
        assert [run.run_id for run in shown.runs()] == [run_id]
        assert shown.units(run_id) == [] and shown.queue_position(run_id) == 1


def test_reading_changes_not_one_byte(store):
    run_id = store.create_run(spec())
    store.claim_process(run_id, 2**22 + 1, 1.5)  # a worker that is gone
    store.set_state(run_id, "running")
    before = sql(store, "SELECT * FROM runs"), store.path.read_bytes()
    shown = LiveStore(store.home)
    assert shown.run(run_id).state == "crashed" and shown.runs()[0].state == "crashed"
    assert shown.run(run_id).finished == store.run(run_id).heartbeat
    assert shown.runs(states=("running",)) == [] and len(shown.runs(states=("crashed",))) == 1
    assert (sql(store, "SELECT * FROM runs"), store.path.read_bytes()) == before


def test_a_store_that_is_not_there_is_empty_and_is_not_made_by_reading(store):
    assert LiveStore(store.home).runs() == []
    with pytest.raises(UserError, match="There is no run"):
        LiveStore(store.home).run("20261123-041500-ab12")
    assert not store.home.exists()


def test_a_busy_store_is_told_in_one_line(store):
    store.create_run(spec())
    with locked(store), pytest.raises(StoreBusy, match=r"another process has kept fda.db locked for 0.1 s: try again"):
        store.waiting(0.1).create_run(spec(seed=1))


def test_a_worker_suspended_in_a_transaction_is_found_named_and_ended(store, suspended):
    run_id, pid = suspended
    assert LiveStore(store.home).run(run_id).state == "running"
    age_beat(store, run_id, 11)
    shown = LiveStore(store.home, patience=0).run(run_id)
    assert shown.state == "crashed"
    assert f"is suspended and gives no sign of life (heartbeat lost 11 s ago); `kill -CONT {pid}`" in shown.message
    with pytest.raises(StoreBusy, match=f"process {pid} of run {run_id} is suspended and keeps fda.db locked"):
        store.waiting(0.1).create_run(spec(seed=1))
    assert jobs.stop_and_wait(store, run_id) == "cancelled"  # SIGTERM and SIGCONT reach it without the store
    assert not is_alive(pid, start_time(os.getpid()))
    assert store.create_run(spec(seed=1))


def test_a_run_whose_worker_is_suspended_in_a_transaction_resumes(store, suspended):
    run_id, _ = suspended
    age_beat(store, run_id, 11)
    jobs.reopen(store, run_id)
    assert (store.run(run_id).state, store.run(run_id).attempt) == ("queued", 2)


def test_a_worker_goes_on_while_the_store_is_locked_and_loses_no_number(store, monkeypatch, capfd):
    monkeypatch.setattr("fda.jobs.patient.LOCK_SECONDS", 0.1)
    monkeypatch.setattr("fda.jobs.patient.AGAIN_SECONDS", 0.2)
    run_id = store.create_run(spec())
    worked = []

    def execute(inner, run_id, cancel):
        inner.add_units(run_id, [(key, 3) for key in UNITS])
        lock = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)
        lock.execute("BEGIN IMMEDIATE")
        for key in UNITS:
            inner.reset_unit(run_id, key)
            inner.add_scalars(run_id, key, [("angle_loss", step, step / 4) for step in range(3)])
            inner.update_unit(run_id, key, state="done", step=3)
        worked.append(LiveStore(store.home).run(run_id).units_done)  # the work is through, the store is still locked
        threading.Timer(0.5, lock.execute, ["ROLLBACK"]).start()

    assert run_here(store, run_id, execute=execute) == "done"
    assert worked == [0]
    assert store.run(run_id).units_done == len(UNITS)
    series = store.scalars(run_id, "angle_loss")
    assert list(series) == UNITS and all(values.tolist() == [0, 0.25, 0.5] for _, values in series.values())
    assert capfd.readouterr().err.count("The run goes on and writes its numbers later.") == 1


def test_a_read_of_a_worker_sees_what_it_wrote_before(store):
    run_id = store.create_run(spec())
    patient = PatientStore(store, threading.Event())
    with locked(store):
        patient.patience = patient._plain.patience = 0.05
        patient.add_units(run_id, [(KEY, 3)])
        assert len(patient._waiting) == 1
    assert [unit.key for unit in patient.units(run_id)] == [KEY]


def test_beats_go_on_while_the_store_is_locked(store):
    run_id = store.create_run(spec())

    def execute(inner, run_id, cancel):
        with locked(store):
            first = (store.run_dir(run_id) / "heartbeat").read_text().split()[2]
            wait_for(lambda: (store.run_dir(run_id) / "heartbeat").read_text().split()[2] != first, 8)

    assert run_here(store, run_id, execute=execute) == "done"


def test_a_locked_store_does_not_keep_a_worker_from_starting(store):
    run_id = store.create_run(spec())
    lock = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)
    lock.execute("BEGIN IMMEDIATE")
    threading.Timer(0.7, lock.execute, ["ROLLBACK"]).start()
    assert run_here(store, run_id, execute=lambda *_: time.sleep(0)) == "done"

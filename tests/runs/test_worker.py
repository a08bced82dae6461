"""One worker's life in this very process: how each way of ending is told, and that the device is let go."""

import errno
import os
import signal
import sqlite3
import threading
import time

import psutil
import pytest

from fda.cancel import Cancelled
from fda.errors import UserError
from fda.jobs.beats import WIDTH, beat_file
from fda.processes import start_time
from fda.stages import worker
from fda.stages.worker import run_here
from fda.store.store import Store
from tests.support.runs import obedient, refused, spec, units, wait_for


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


@pytest.fixture
def store(fda_home) -> Store:
    return Store(fda_home)


@pytest.fixture
def run_id(store) -> str:
    return store.create_run(spec())


def raising(error: BaseException):
    def execute(store, run_id, cancel):
        raise error

    return execute


def test_a_foreground_run_is_claimed_by_this_process_and_done(store, run_id):
    seen = []

    def execute(store, run_id, cancel):
        seen.append(store.run(run_id))
        units(store, run_id, cancel)

    assert run_here(store, run_id, execute=execute) == "done"
    assert (seen[0].state, seen[0].pid) == ("running", os.getpid())
    assert time.time() - seen[0].heartbeat < 5
    assert store.run(run_id).units_done == 6


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (Cancelled(), "cancelled", None),
        (UserError("block 9 is not there."), "failed", "block 9 is not there."),
        (OSError(errno.ENOSPC, "No space left on device"), "failed", "the disk is full: free space in "),
        (
            RuntimeError("I/O error: No space left on device (os error 28)"),
            "failed",
            "the disk is full: free space in ",
        ),
        (OutOfMemoryError("CUDA out of memory"), "failed", "the device ran out of memory"),
        (MemoryError(), "failed", "the machine ran out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 GB"), "failed", "the machine ran out of memory"),
        (ValueError("bad\nvery bad"), "failed", "ValueError: bad (see /"),
        (SystemExit(3), "failed", "SystemExit: 3 (see /"),
    ],
)
def test_every_end_has_its_state_and_sentence(store, run_id, error, state, message):
    assert run_here(store, run_id, execute=raising(error)) == state
    run = store.run(run_id)
    assert run.state == state and run.finished is not None
    assert run.message == message if message is None else run.message.startswith(message)
    told = isinstance(error, Cancelled | UserError)
    assert ("Traceback" in (store.run_dir(run_id) / "log.txt").read_text()) != told


def test_the_device_is_free_after_a_failure(store, run_id):
    run_here(store, run_id, execute=refused)
    again = store.create_run(spec(seed=1))
    assert run_here(store, again, execute=units) == "done"


def test_the_flag_stops_a_foreground_run(store, run_id):
    threading.Timer(0.5, store.request_stop, [run_id]).start()
    assert run_here(store, run_id, execute=obedient) == "cancelled"


def test_ctrl_c_stops_at_the_next_step_and_a_second_one_at_once(store, run_id):
    handlers = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
    ways = []

    def execute(store, run_id, cancel):
        os.kill(os.getpid(), signal.SIGINT)
        wait_for(cancel.requested, 1)
        ways.append("first")
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
        ways.append("too late")

    assert run_here(store, run_id, execute=execute) == "cancelled"
    assert ways == ["first"]
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_run_that_is_not_queued_is_refused(store, run_id):
    store.set_state(run_id, "done")
    with pytest.raises(UserError, match="is done, not queued"):
        run_here(store, run_id, execute=obedient)
    assert worker.main(run_id, execute=obedient) == 2
    assert store.run(run_id).state == "done"


def test_a_second_worker_leaves_the_beat_of_the_first(store, run_id):
    pid, started = os.getppid(), start_time(os.getppid())
    store.claim_process(run_id, pid, started)
    beat = f"{pid} {started!r} 1 now".ljust(WIDTH)
    beat_file(store.run_dir(run_id)).write_text(beat)
    with pytest.raises(UserError, match=f"is at work already .process {pid}."):
        run_here(store, run_id)
    assert beat_file(store.run_dir(run_id)).read_text() == beat


def test_a_worker_whose_run_was_given_to_another_stops_and_keeps_silent(store, run_id):
    waits = []

    def execute(store, run_id, cancel):
        store.set_state(run_id, "crashed", "suspended")
        store.requeue(run_id)
        waits.append(wait_for(cancel.requested, 30))
        raise Cancelled

    run_here(store, run_id, execute=execute)
    assert len(waits) == 1  # it was told
    assert (store.run(run_id).state, store.run(run_id).attempt) == ("queued", 2)


def test_a_full_disk_does_not_stop_the_heart_and_the_end_is_told_when_there_is_room(store, run_id, monkeypatch):
    add_system, set_state = Store.add_system, Store.set_state
    refusals = []

    def full(self, *args, **options):
        refusals.append(args)
        raise UserError("its disk is full")

    def execute(store, run_id, cancel):
        monkeypatch.setattr(Store, "add_system", full)
        before = store.run(run_id).heartbeat
        wait_for(lambda: refusals and store.run(run_id).heartbeat > before + 2, 8)
        monkeypatch.setattr(Store, "add_system", add_system)
        monkeypatch.setattr(Store, "set_state", full)
        threading.Timer(0.5, monkeypatch.setattr, [Store, "set_state", set_state]).start()

    assert run_here(store, run_id, execute=execute) == "done"
    assert {args[1] for args in refusals if len(args) > 2} == {"done"}


def test_the_work_is_fdas_own_unless_told(store, run_id):
    """The spec names checkpoints that are not there: a sentence from the real `execute`, not a traceback."""
    assert run_here(store, run_id) == "failed"
    assert "/base" in store.run(run_id).message and "see log.txt" not in store.run(run_id).message


def test_measurements_are_of_this_process(store, run_id):
    def execute(store, run_id, cancel):
        wait_for(lambda: len(store.system(run_id)) >= 2, 5)

    run_here(store, run_id, execute=execute)
    memory = [value for _, key, value in store.system(run_id) if key == "memory_bytes"]
    assert {key for _, key, _ in store.system(run_id)} == {"memory_bytes", "cpu_cores"}
    assert memory[-1] == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)


def test_a_locked_store_delays_the_heart_but_harms_nothing(store, run_id):
    def execute(store, run_id, cancel):
        other = sqlite3.connect(store.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        time.sleep(2.5)
        other.execute("COMMIT")
        other.close()

    assert run_here(store, run_id, execute=execute) == "done"

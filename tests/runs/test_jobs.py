"""Runs as processes: they stop, die, sleep, queue and go on, and the store tells the truth about it each time."""

import itertools
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from fda.errors import UserError
from fda.home import REPO
from fda.jobs import lifecycle as jobs
from fda.jobs.liveness import LiveStore
from fda.processes import is_alive, send_signal, start_time
from fda.store.store import Store
from tests.support.runs import UNITS, age_beat, spec, sql, suspend, wait_for


@pytest.fixture
def store(fda_home) -> Store:
    return Store(fda_home)


def state(store: Store, run_id: str) -> str:
    """As readers see it; nothing is written."""
    return LiveStore(store.home).run(run_id).state


def started(store: Store, seed: int = 0, device: str = "cpu") -> str:
    """A run whose worker is at work."""
    run_id = jobs.start(store, spec(device, seed))
    wait_for(lambda: state(store, run_id) == "running", 15)
    return run_id


def log(store: Store, run_id: str) -> str:
    return (store.run_dir(run_id) / "log.txt").read_text()


# starting


def test_a_run_is_a_detached_process_that_ends_done(store, work):
    work("units")
    run_id = started(store)
    run = store.run(run_id)
    assert run.pid != os.getpid() and os.getsid(run.pid) == run.pid
    assert is_alive(run.pid, run.pid_started)
    worker = psutil.Process(run.pid)
    assert {os.path.realpath(f"/proc/{run.pid}/fd/{fd}") for fd in (1, 2)} == {str(store.run_dir(run_id) / "log.txt")}
    wait_for(lambda: state(store, run_id) == "done", 15)
    run = store.run(run_id)
    assert (run.units_done, run.units_total, run.message) == (6, 6, None)
    assert run.created <= run.started <= run.finished

    def gone() -> bool:
        jobs.settle(store)
        return not worker.is_running()

    wait_for(gone, 5)  # reaped: not even a zombie is left


def test_the_same_request_is_not_started_twice(store, work):
    work("obedient")
    run_id = jobs.start(store, spec())
    with pytest.raises(UserError, match=f"Run {run_id} does exactly this already and is (queued|running)"):
        jobs.start(store, spec())
    other = jobs.start(store, spec(seed=1))
    for one in (other, run_id):
        jobs.stop_and_wait(store, one)
    work("brief")
    again = jobs.start(store, spec())
    assert again not in (run_id, other)


def test_a_worker_that_cannot_be_started_leaves_a_failed_run(store, monkeypatch):
    monkeypatch.setattr(jobs, "_command", lambda run_id: ["/no/such/python", run_id])
    run = store.run(jobs.start(store, spec()))
    assert run.state == "failed" and "could not be started (No such file or directory)" in run.message


def test_a_worker_that_dies_before_its_first_sign_is_noticed(store, work, monkeypatch):
    monkeypatch.setattr(jobs, "_command", lambda run_id: [sys.executable, "-c", "raise SystemExit(9)"])
    run_id = jobs.start(store, spec())
    wait_for(lambda: jobs.settle(store) or store.run(run_id).state == "crashed", 10)
    assert "ended at once with exit code 9" in store.run(run_id).message
    orphan = store.create_run(spec())  # its starter died before it could start a worker
    assert state(store, orphan) == "queued"
    boot, moment = sql(store, "SELECT queued_clock FROM runs WHERE run_id = ?", orphan)[0][0].split()
    sql(store, "UPDATE runs SET queued_clock = ? WHERE run_id = ?", f"{boot} {float(moment) - 31}", orphan)
    assert state(store, orphan) == "crashed" and store.run(orphan).state == "queued"
    jobs.settle(store)
    assert store.run(orphan).state == "crashed" and "did not start within 30 s" in store.run(orphan).message


# stopping


def test_a_stop_takes_less_than_five_seconds(store, work):
    work("obedient")
    run_id = started(store)
    jobs.stop(store, run_id)
    assert store.run(run_id).state in ("stopping", "cancelled")  # a fast worker has ended already
    assert wait_for(lambda: state(store, run_id) == "cancelled", 5) < 5
    assert store.run(run_id).message is None
    with pytest.raises(UserError, match="is cancelled: there is nothing to stop"):
        jobs.stop(store, run_id)


@pytest.mark.parametrize(("name", "term", "kill"), [("deaf", 1.5, 60), ("stubborn", 0.2, 1.5)])
def test_a_worker_that_does_not_stop_is_made_to(store, work, monkeypatch, name, term, kill):
    monkeypatch.setattr(jobs, "TERM_SECONDS", term)
    monkeypatch.setattr(jobs, "KILL_SECONDS", kill)
    work(name)
    run_id = started(store)
    pid = store.run(run_id).pid
    time.sleep(0.5)  # its work has begun and set its signals
    jobs.stop(store, run_id)
    time.sleep(0.8)
    assert state(store, run_id) == "stopping" and psutil.pid_exists(pid)  # not before its time
    wait_for(lambda: state(store, run_id) == "cancelled", 5)
    assert not is_alive(pid, store.run(run_id).pid_started)
    wait_for(lambda: store.run(run_id).state == "cancelled", 5)  # written by who asked it to stop
    assert "ended by force" in store.run(run_id).message


def test_stop_and_wait_ends_a_suspended_worker_too(store, work, monkeypatch):
    monkeypatch.setattr(jobs, "TERM_SECONDS", 0.5)
    monkeypatch.setattr(jobs, "KILL_SECONDS", 1)
    work("obedient")
    run_id = started(store)
    suspend(store, store.run(run_id).pid)
    assert jobs.stop_and_wait(store, run_id) == "cancelled"


def test_sigterm_stops_like_the_flag(store, work):
    work("obedient")
    run_id = started(store)
    os.kill(store.run(run_id).pid, signal.SIGTERM)
    wait_for(lambda: state(store, run_id) == "cancelled", 5)


def test_a_queued_run_is_cancelled_at_once_and_its_worker_goes(store, work):
    work("obedient")
    first = started(store)
    second = jobs.start(store, spec(seed=1))
    wait_for(lambda: store.run(second).pid is not None, 15)
    assert jobs.stop_and_wait(store, second) == "cancelled"
    run = store.run(second)
    wait_for(lambda: not is_alive(run.pid, run.pid_started), 5)
    assert (run.started, store.run(second).state, state(store, first)) == (None, "cancelled", "running")


# dying


def test_a_killed_worker_is_a_crashed_run_that_resumes(store, work):
    work("units")
    run_id = started(store)
    wait_for(lambda: store.run(run_id).units_done >= 2, 15)
    os.kill(store.run(run_id).pid, signal.SIGKILL)
    assert wait_for(lambda: state(store, run_id) == "crashed", 15) < 15
    crashed = LiveStore(store.home).run(run_id)
    assert store.run(run_id).state == "running"  # who reads writes nothing
    assert "ended without a word (heartbeat lost" in crashed.message and "resume continues" in crashed.message
    first = {unit.key for unit in store.units(run_id) if unit.state == "done"}
    jobs.resume(store, run_id)
    wait_for(lambda: state(store, run_id) == "done", 15)
    run = store.run(run_id)
    assert (run.attempt, run.units_done, run.message) == (2, 6, None)
    workers = {key: set(values) for key, (_, values) in store.scalars(run_id, "angle_loss").items()}
    assert first and set(UNITS) - first
    assert all(workers[key] == {float(crashed.pid if key in first else run.pid)} for key in UNITS)


def test_a_worker_that_exits_by_itself_is_crashed(store, work):
    work("vanishing")
    run_id = jobs.start(store, spec())
    wait_for(lambda: state(store, run_id) == "crashed", 15)


def test_a_suspended_run_recovers(store, work):
    work("obedient")
    run_id = started(store)
    pid = store.run(run_id).pid
    suspend(store, pid)
    age_beat(store, run_id, 11)
    assert state(store, run_id) == "crashed"
    message = LiveStore(store.home).run(run_id).message
    assert "is suspended and gives no sign of life (heartbeat lost" in message and f"`kill -CONT {pid}`" in message
    jobs.settle(store)
    assert store.run(run_id).state == "crashed"
    os.kill(pid, signal.SIGCONT)
    wait_for(lambda: state(store, run_id) == "running", 5)
    run = store.run(run_id)
    assert (run.pid, run.attempt, run.message, run.finished) == (pid, 1, None, None)
    assert jobs.stop_and_wait(store, run_id) == "cancelled"


def test_resuming_a_suspended_run_ends_its_former_worker(store, work):
    work("obedient")
    run_id = started(store)
    former = store.run(run_id)
    suspend(store, former.pid)
    age_beat(store, run_id, 11)
    jobs.resume(store, run_id)
    wait_for(lambda: state(store, run_id) == "running", 15)
    assert store.run(run_id).pid != former.pid
    assert not is_alive(former.pid, former.pid_started)


def test_only_a_run_that_ended_early_can_be_resumed(store):
    run_id = store.create_run(spec())
    with pytest.raises(UserError, match="is queued already"):
        jobs.resume(store, run_id)
    store.set_state(run_id, "done")
    with pytest.raises(UserError, match="is done: there is nothing left to resume"):
        jobs.may_resume(store, run_id)
    for ended in ("failed", "cancelled", "crashed"):
        store.set_state(run_id, ended)
        jobs.may_resume(store, run_id)


# queueing


def test_one_device_runs_one_run_at_a_time_in_order_and_another_beside_it(store, work):
    work("brief")
    cpu = [jobs.start(store, spec("cpu", seed)) for seed in range(3)]
    work("obedient")
    elsewhere = started(store, seed=9, device="cuda:7")
    for run_id in cpu:
        wait_for(lambda run_id=run_id: state(store, run_id) == "done", 20)
    runs = [store.run(run_id) for run_id in cpu]
    assert all(before.finished <= after.started for before, after in itertools.pairwise(runs))
    assert state(store, elsewhere) == "running"


def test_a_queue_moves_on_when_the_run_ahead_is_killed_while_it_waits(store, work):
    """With no page open: the waiting workers themselves notice."""
    work("obedient")
    first = started(store)
    work("brief")
    second, third = jobs.start(store, spec(seed=1)), jobs.start(store, spec(seed=2))
    wait_for(lambda: store.run(second).pid is not None and store.run(third).pid is not None, 15)
    os.kill(store.run(second).pid, signal.SIGKILL)
    assert store.queue_position(third) == 2
    store.request_stop(first)
    wait_for(lambda: store.run(third).state == "done", 15)
    assert state(store, second) == "crashed"


# processes


def test_a_zombie_and_a_reused_pid_are_not_alive():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    began = start_time(child.pid)
    assert is_alive(child.pid, began)
    assert not is_alive(child.pid, began - 1)  # the number of a process that began earlier
    assert not is_alive(None, began) and not is_alive(child.pid, None)
    child.kill()
    wait_for(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE, 5)
    os.kill(child.pid, 0)  # which says alive
    assert not is_alive(child.pid, began)
    child.wait()
    child.stdin.close()
    assert not is_alive(child.pid, began)


def test_the_start_time_does_not_move_with_the_clock(monkeypatch):
    before = start_time(os.getpid())
    boot = psutil.boot_time()
    monkeypatch.setattr(psutil, "boot_time", lambda: boot + 3600)
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot + 3600)
    assert start_time(os.getpid()) == pytest.approx(before, abs=0.01)


def test_a_signal_reaches_a_foreground_worker_and_not_the_script_around_it():
    sleep = "import time; time.sleep(60)"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {sleep!r}]); print('unharmed')"
    outer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: len(psutil.Process(outer.pid).children()) == 1, 10)
    (inner,) = psutil.Process(outer.pid).children()
    send_signal(inner.pid, start_time(inner.pid) - 1, signal.SIGKILL)  # another process of that number
    assert is_alive(inner.pid, start_time(inner.pid))
    send_signal(inner.pid, start_time(inner.pid), signal.SIGKILL)
    assert outer.communicate(timeout=10)[0] == "unharmed\n"


def test_jobs_and_worker_bring_no_torch_and_no_streamlit():
    code = "import fda.jobs.lifecycle, fda.stages.worker, sys; print({'torch', 'streamlit'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr

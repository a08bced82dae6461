"""The wall clock jumps by an hour or a year: nothing is declared dead or revived for it, and no queue turns round."""

import os
import time

import pytest

from fda.clock import seconds_since, stamp
from fda.jobs import lifecycle as jobs
from fda.jobs.beats import Beats, last_beat
from fda.jobs.liveness import LiveStore, verdict
from fda.processes import start_time
from fda.store.store import Store
from tests.support.runs import age_beat, spec

HOUR, YEAR = 3600, 365 * 86400


@pytest.fixture
def store(fda_home) -> Store:
    return Store(fda_home)


@pytest.fixture(params=[-YEAR, -HOUR, HOUR, YEAR])
def jump(request, monkeypatch):
    """`jump()`: the clock is set."""
    real = time.time
    return lambda: monkeypatch.setattr(time, "time", lambda: real() + request.param)


def at_work(store: Store) -> str:
    """A run whose worker is this very process."""
    run_id = store.create_run(spec())
    store.claim_process(run_id, os.getpid(), start_time(os.getpid()))
    store.set_state(run_id, "running")
    Beats(store.run_dir(run_id)).beat()
    return run_id


def test_a_run_at_work_stays_at_work(store, jump):
    run_id = at_work(store)
    jump()
    assert LiveStore(store.home).run(run_id).state == "running"
    jobs.settle(store)
    assert store.run(run_id).state == "running"


def test_a_silent_run_stays_crashed(store, jump):
    run_id = at_work(store)
    age_beat(store, run_id, 11)
    jump()
    assert (
        LiveStore(store.home)
        .run(run_id)
        .message.startswith("the worker process gives no sign of life (heartbeat lost 11 s")
    )


def test_a_run_that_waits_for_its_worker_is_given_its_time(store, jump):
    run_id = store.create_run(spec())
    jump()
    assert LiveStore(store.home).run(run_id).state == "queued"


def test_presses_come_neither_early_nor_late(store, jump, monkeypatch):
    run_id = at_work(store)
    store.request_stop(run_id)
    sent = []
    monkeypatch.setattr(jobs, "send_signal", lambda pid, started, signum: sent.append(signum.name))
    since = {}
    jobs.press_on(store, since)
    jump()
    jobs.press_on(store, since)
    assert sent == []
    since[(run_id, 1)] -= jobs.TERM_SECONDS + 0.1
    jobs.press_on(store, since)
    assert sent == ["SIGTERM", "SIGCONT"]
    since[(run_id, 1)] -= jobs.KILL_SECONDS
    jobs.press_on(store, since)
    assert sent[2:] == ["SIGKILL"]


def test_the_queue_and_the_list_keep_their_order(store, jump):
    first, second = store.create_run(spec()), store.create_run(spec(seed=1))
    jump()
    third = store.create_run(spec(seed=2))
    assert [store.queue_position(run) for run in (first, second, third)] == [1, 2, 3]
    assert [run.run_id for run in store.runs()] == [third, second, first]
    store.set_state(first, "failed")
    store.requeue(first)
    assert [store.queue_position(run) for run in (second, third, first)] == [1, 2, 3]


def test_a_stamp_of_another_start_of_the_machine_is_old():
    boot, moment = stamp().split()
    assert seconds_since(f"{boot} {float(moment) - 5}") == pytest.approx(5, abs=1)
    for other in (f"another-boot {moment}", f"{boot} {float(moment) + 1e6}", "", "nonsense", None):
        assert seconds_since(other) == float("inf")


def test_a_beat_of_an_earlier_process_says_nothing_of_this_one(store):
    run_id = at_work(store)
    (store.run_dir(run_id) / "heartbeat").write_text("1 1.5 9 " + stamp())
    assert last_beat(store.run_dir(run_id)).pid == 1
    assert verdict(store.run(run_id), store.home) is None

"""Real workers that are killed, suspended, or meet a busy store, cut files or a turned clock; a full disk, a read-only store.

Whatever happens, resuming ends at the bytes of a run that was left alone. `python -m tests.chaos --kills 100` kills at length.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from fda.jobs import lifecycle, liveness
from fda.jobs.liveness import LiveStore
from fda.processes import is_alive
from fda.store.files import anchors_file
from fda.store.store import Store
from tests.chaos.campaign import PATIENCE, Campaign
from tests.chaos.processes import Process, start_worker
from tests.chaos.state import faults, finished_units
from tests.support.runs import wait_for

YEAR = 365 * 86400.0


@pytest.fixture(scope="module")
def campaign(tmp_path_factory, tiny_zoo):
    """A store with one run that was left alone: every run here is asked for the same and must equal it."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("chaos") / "home"
        patch.setenv("FDA_HOME", str(home))
        patch.setattr(lifecycle, "_spawn", None)  # put back at the end
        patch.setattr(liveness, "FRESH_SECONDS", 3.0)
        yield Campaign(home, tiny_zoo, methods=(), steps=40)


@pytest.fixture
def run_id(campaign) -> str:
    run_id = lifecycle.start(campaign.store, campaign.spec())
    yield run_id
    lifecycle.delete(campaign.store, run_id, now=True)


def at_work(store: Store, run_id: str, **options: object) -> Process:
    """A worker that has finished its first unit and is at the next."""
    process = start_worker(store, run_id, **options)
    wait_for(lambda: bool(finished_units(store, run_id)), 60)
    return process


def resumed(campaign: Campaign, store: Store, run_id: str) -> None:
    lifecycle.resume(store, run_id)
    start_worker(store, run_id).join(PATIENCE)
    campaign.require_equal(store, run_id)


def test_killed_workers_and_starters_lose_nothing(campaign):
    campaign.run(2)
    assert campaign.deaths.total() >= 2 and campaign.compared


@pytest.mark.chaos
def test_a_turned_clock_a_busy_store_and_a_suspension_change_no_number(campaign, run_id):
    process = at_work(campaign.store, run_id, clock=YEAR)
    with closing(sqlite3.connect(campaign.store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(2.5)  # longer than a write of a worker waits
    os.kill(process.pid, signal.SIGSTOP)
    wait_for(lambda: LiveStore(campaign.home).run(run_id).state in ("crashed", "done"), 20)
    lifecycle.settle(campaign.store)  # the row says crashed too, until the worker beats again
    os.kill(process.pid, signal.SIGCONT)
    process.join(PATIENCE)
    campaign.require_equal(campaign.store, run_id)
    assert all(phase.seconds >= 0 for phase in campaign.store.phases(run_id))


def test_a_suspended_worker_whose_files_were_cut_is_ended_and_two_never_write(campaign, run_id):
    process = at_work(campaign.store, run_id)
    os.kill(process.pid, signal.SIGSTOP)
    for key in finished_units(campaign.store, run_id):
        os.truncate(anchors_file(campaign.store.run_dir(run_id), key.name, key.block), 100 * key.block)
    wait_for(lambda: LiveStore(campaign.home).run(run_id).state == "crashed", 20)
    assert any("instead of" in fault for fault in faults(campaign.store))
    lifecycle.resume(campaign.store, run_id)
    both = [start_worker(campaign.store, run_id) for _ in range(2)]
    for worker in both:
        worker.join(PATIENCE)
    assert not process.is_alive() and sorted(worker.exitcode for worker in both) == [0, 2]
    campaign.require_equal(campaign.store, run_id)


@pytest.mark.chaos
def test_a_store_that_becomes_read_only_ends_the_run_and_loses_nothing(campaign, run_id):
    process = at_work(campaign.store, run_id)
    if subprocess.run(["chattr", "+i", campaign.store.path], capture_output=True).returncode:
        process.join(PATIENCE)
        pytest.skip("making a file immutable needs root and a file system that can")
    try:
        wait_for(lambda: not process.is_alive(), 60)
        assert not is_alive(process.pid, campaign.store.run(run_id).pid_started)
        assert LiveStore(campaign.home).run(run_id).state in ("crashed", "failed", "done")
    finally:
        subprocess.run(["chattr", "-i", campaign.store.path], check=True)
    resumed(campaign, campaign.store, run_id)


@pytest.mark.chaos
def test_a_disk_that_fills_while_a_worker_writes_ends_it_and_resuming_finishes(campaign, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        store = Store(disk / "home")
        run_id = lifecycle.start(store, campaign.spec())
        process = at_work(store, run_id)
        _fill(disk / "ballast")
        wait_for(lambda: not process.is_alive(), 60)
        assert "disk" in (LiveStore(store.home).run(run_id).message or "")
        (disk / "ballast").unlink()
        resumed(campaign, store, run_id)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(shutil.disk_usage(path.parent).free or 4096))
        except OSError:
            pass

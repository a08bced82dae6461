"""Each damage of FDA_HOME that was planted: the doctor finds it, says so without a change, mends it, and finds no more."""

import fcntl
import json
import os
import shutil
from pathlib import Path

import pytest

from fda.jobs import housekeeping, lifecycle
from fda.jobs.doctor import examine, repair
from fda.jobs.liveness import LiveStore
from fda.store.files import anchors_file
from fda.store.finished import damaged_files, keep
from fda.store.store import MethodResult, Score, Store, UnitKey
from tests.support.runs import spec, sql

DEAD = 2**22 + 1  # no process has this number
KEY = UnitKey("construct", "red", 0)


@pytest.fixture
def store(fda_home, monkeypatch) -> Store:
    """One finished run with anchors, a snapshot of a landscape, numbers and scores, and one cancelled."""
    monkeypatch.setattr(lifecycle, "_spawn", lambda store, run_id: None)
    monkeypatch.setattr(housekeeping, "WAIT_SECONDS", 0.0)
    os.umask(0o077)
    store = Store(fda_home)
    done, _ = sorted(store.create_run(spec(seed=seed)) for seed in range(2))
    store.add_units(done, [(KEY, 3)])
    store.add_scalars(done, KEY, [("angle_loss", step, 0.5) for step in range(3)], state="done", loss=0.5, step=3)
    store.add_result(
        done, MethodResult("ta", "done", {}, 1.0, 1, None), [Score("ta", "red", "test", "accuracy", 0.5, 9)]
    )
    for path in (anchors(store), store.run_dir(done) / "snapshots" / "0.safetensors"):
        path.parent.mkdir(parents=True)
        header = json.dumps({"anchors": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
        keep(store, done, path)
    for run_id, state in zip(runs(store), ("done", "cancelled"), strict=True):
        store.set_state(run_id, "running")
        store.set_state(run_id, state)
    assert [one.text for one in examine(store) if not one.good] == []
    return store


def runs(store: Store) -> list[str]:
    return sorted(run.run_id for run in store.all_stored())


def folder(store: Store) -> Path:
    return store.run_dir(runs(store)[0])


def anchors(store: Store) -> Path:
    return anchors_file(folder(store), "red", 0)


def row_of_no_run(table: str, *columns: str):
    def plant(store: Store) -> None:
        owner = "unit" if table in ("scalars", "snapshots") else "run"
        names, values = ", ".join((owner, *columns)), ", ".join("1" for _ in columns)
        sql(store, f"INSERT INTO {table} ({names}) VALUES (77, {values})")

    return plant


def half_deleted(store: Store) -> None:
    os.rename(folder(store), folder(store).with_name(f".{folder(store).name}.deleted"))


def deleted_but_for_its_files(store: Store) -> None:
    (store.home / "runs" / ".20260101-000000-abcd.deleted").mkdir()


def folder_without_spec(store: Store) -> None:
    place = store.home / "runs" / "20260101-000000-abcd" / "anchors"
    place.mkdir(parents=True)
    (place / "kept").write_text("still here")


def folder_with_bad_spec(store: Store) -> None:
    folder_without_spec(store)
    (store.home / "runs" / "20260101-000000-abcd" / "spec.json").write_text("{}")


def foreign_folder(store: Store) -> None:
    shutil.copytree(folder(store), store.home / "runs" / "copy of a run")


def unlisted(store: Store) -> None:
    shutil.copytree(folder(store), store.home / "runs" / "20260101-000000-abcd")


def no_folder(store: Store) -> None:
    shutil.rmtree(folder(store))


def no_spec(store: Store) -> None:
    (folder(store) / "spec.json").unlink()


def spec_cut(store: Store) -> None:
    path = folder(store) / "spec.json"
    path.write_text(path.read_text()[:99])


def spec_of_another(store: Store) -> None:
    shutil.copy(store.run_dir(runs(store)[1]) / "spec.json", folder(store) / "spec.json")


def row_with_bad_spec(store: Store) -> None:
    sql(store, "UPDATE runs SET spec = '{' WHERE run_id = ?", runs(store)[0])


def anchors_lost(store: Store) -> None:
    anchors(store).unlink()


def anchors_cut(store: Store) -> None:
    os.truncate(anchors(store), 20)


def anchors_flipped(store: Store) -> None:
    anchors(store).write_bytes(anchors(store).read_bytes()[:-1] + b"x")


def anchors_lost_without_record(store: Store) -> None:
    sql(store, "DELETE FROM files")
    anchors_lost(store)


def snapshot_emptied(store: Store) -> None:
    os.truncate(folder(store) / "snapshots" / "0.safetensors", 0)


def unfinished_file(store: Store) -> None:
    anchors(store).with_name(f".1.safetensors.{DEAD}-1.part").write_bytes(b"half")


def unfinished_file_of_a_reused_number(store: Store) -> None:
    path = anchors(store).with_name(f".1.safetensors.{os.getpid()}-1.part")
    path.write_bytes(b"half")
    os.utime(path, (1e9, 1e9))


def reserve(store: Store) -> None:
    (folder(store) / ".reserve").write_bytes(bytes(9))


def heartbeat(store: Store) -> None:
    (folder(store) / "heartbeat").write_text(f"{DEAD} 1.5 3 x")


def dead_worker(store: Store) -> None:
    sql(store, "UPDATE runs SET state = 'running', pid = ?, pid_started = 1.5 WHERE run_id = ?", DEAD, runs(store)[0])


def open_to_others(store: Store) -> None:
    os.chmod(store.home, 0o755)


def free_pages(store: Store) -> None:
    sql(store, "CREATE TABLE ballast (data BLOB)")
    sql(store, "INSERT INTO ballast VALUES (zeroblob(20000000))")
    sql(store, "DROP TABLE ballast")


DAMAGE = {
    half_deleted: "left of a deletion that was interrupted",
    deleted_but_for_its_files: "left of a deletion that was interrupted",
    folder_without_spec: "belongs to no run",
    folder_with_bad_spec: "does not list run",
    foreign_folder: "belongs to no run",
    unlisted: "does not list run 20260101-000000-abcd",
    no_folder: "has no folder",
    no_spec: "does not say what its run was asked",
    spec_cut: "does not say what its run was asked",
    spec_of_another: "does not say what its run was asked",
    row_with_bad_spec: "cannot be read",
    anchors_lost: "is missing",
    anchors_cut: "has 20 bytes instead of",
    anchors_flipped: "is damaged: its bytes are not those",
    anchors_lost_without_record: "is missing",
    snapshot_emptied: "is empty instead of",
    unfinished_file: "was left by a process that was killed",
    unfinished_file_of_a_reused_number: "was left by a process that was killed",
    reserve: "was left by a worker that was killed",
    heartbeat: "was left by a worker that was killed",
    dead_worker: "is stored as running, but the worker process ended",
    open_to_others: "others can read it",
    free_pages: "hold nothing",
    row_of_no_run("units", "stage", "name", "block", "steps"): "rows that belong to no run (1 of units)",
    row_of_no_run("scalars", "key", "step"): "rows that belong to no run (1 of scalars)",
    row_of_no_run("snapshots", "kind", "step", "data"): "rows that belong to no run (1 of snapshots)",
    row_of_no_run("results", "method", "state", "settings"): "rows that belong to no run (1 of results)",
    row_of_no_run("scores", "method", "task", "split", "metric", "count"): "rows that belong to no run (1 of scores)",
    row_of_no_run("system", "time", "key"): "rows that belong to no run (1 of system)",
    row_of_no_run("files", "path", "bytes", "modified", "sha256"): "rows that belong to no run (1 of files)",
    row_of_no_run("phases", "phase"): "rows that belong to no run (1 of phases)",
}
RESUMED = (anchors_lost, anchors_cut, anchors_flipped, anchors_lost_without_record, no_folder)


@pytest.mark.parametrize("plant", DAMAGE, ids=lambda plant: f"{plant.__name__}-{DAMAGE[plant][-12:]}")
def test_planted_damage_is_found_and_mended(store, plant):
    before, scores = runs(store), store.results(runs(store)[0])
    plant(store)
    files = everything(store)
    found = [one.text for one in examine(store) if not one.good]
    assert any(DAMAGE[plant] in text for text in found), found
    assert everything(store) == files  # looking changes nothing

    assert list(repair(store))
    assert [one.text for one in examine(store) if not one.good] == []
    assert set(before) <= set(runs(store)) and store.results(before[0]) == scores
    if plant in RESUMED:
        assert store.run(before[0]).state == "queued" and damaged_files(store, before[0], "content")
    elif plant is dead_worker:
        assert store.run(before[0]).state == "crashed"
    else:
        assert [store.run(run_id).state for run_id in before] == ["done", "cancelled"]
        assert "snapshot" in plant.__name__ or anchors(store).is_file()
    if plant in (folder_without_spec, folder_with_bad_spec):
        assert (store.home / "lost/runs/20260101-000000-abcd/anchors/kept").read_text() == "still here"
    assert list(repair(store)) == []  # and again: there is nothing to do


def everything(store: Store) -> dict[str, bytes]:
    names = ("fda.db-shm", "fda.db-wal")
    return {str(path): path.read_bytes() for path in store.home.rglob("*") if path.is_file() and path.name not in names}


def test_files_of_a_worker_that_lives_are_left_alone(store):
    part = anchors(store).with_name(f".1.safetensors.{os.getpid()}-1.part")
    part.write_bytes(b"half")
    assert list(repair(store)) == [] and part.exists()


def test_a_stopped_run_is_not_resumed_for_its_damaged_anchors(store):
    sql(store, "UPDATE runs SET state = 'cancelled'")
    anchors_cut(store)
    (said,) = repair(store)
    assert f"{anchors(store)} is kept as {store.home}/lost/runs/" in said
    (unit,) = store.units(runs(store)[0])
    assert (unit.state, store.run(runs(store)[0]).state) == ("pending", "cancelled")
    assert [one.text for one in examine(store) if not one.good] == []


def test_a_lock_held_by_a_process_without_a_run_is_named(store):
    with store.open_lock("device-cpu") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (found,) = [one.text for one in examine(store) if not one.good]
    assert f"process {os.getpid()} " in found and "device-cpu.lock without working at a run" in found


def test_what_a_suspended_deletion_left_comes_back_whole(store):
    half_deleted(store)
    lifecycle.purge(store)  # as every action does
    assert folder(store).is_dir() and LiveStore(store.home).run(runs(store)[0]).state == "done"

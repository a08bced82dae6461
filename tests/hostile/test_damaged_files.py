"""Anchors that were emptied, cut or flipped, a damaged store, a full disk: named, never used, and made again."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file

from fda.errors import UserError
from fda.jobs import lifecycle as jobs
from fda.jobs.doctor import examine, repair
from fda.jobs.liveness import LiveStore
from fda.requests.runs import construct_settings, make_spec
from fda.stages.execute import execute
from fda.stages.worker import run_here
from fda.store.files import anchors_file, merged_file
from fda.store.finished import damaged_files
from fda.store.predictions import predictions_file, read_answers
from fda.store.store import Store
from tests.support.runs import spec, sql, units

SETTINGS = construct_settings("fast", steps=3, anchors=2)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def flip_unseen(path: Path) -> None:
    """As a bad disk does: size and time of change stay."""
    before = path.stat()
    flip(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def remove(path: Path) -> None:
    path.unlink()


HARM = {
    empty: "is empty instead of",
    cut: "bytes instead of",
    flip: "is damaged: its bytes are not those that were written",
    flip_unseen: "is damaged: its bytes are not those that were written",
    remove: "is missing",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_zoo) -> tuple[Path, str]:
    """A home with one run that has anchors, merged models and scores."""
    home = tmp_path_factory.mktemp("made") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FDA_HOME", str(home))
        store = Store(home)
        chosen = {"construct": SETTINGS, "device": "cpu", "tasks": ("red",), "methods": ("pretrained", "ta")}
        run_id = store.create_run(make_spec(tiny_zoo, **chosen))
        assert run_here(store, run_id, execute=execute) == "done"
    return home, run_id


@pytest.fixture
def store(made, fda_home) -> Store:
    shutil.copytree(made[0], fda_home)
    return Store(fda_home)


def test_every_finished_file_is_known_by_size_and_checksum(store, made):
    files = store.files(made[1])
    anchors = ["anchors/red/0.safetensors", "anchors/red/1.safetensors"]
    merged = ["merged/pretrained.safetensors", "merged/ta.safetensors"]
    assert list(files) == [*anchors, "examples/red.safetensors", *merged]
    for path, record in files.items():
        assert (store.run_dir(made[1]) / path).stat().st_size == record.bytes and len(record.sha256) == 64


@pytest.mark.parametrize("harm", HARM)
def test_harmed_anchors_are_named_and_made_again(store, made, harm, capfd):
    run_id = made[1]
    path = anchors_file(store.run_dir(run_id), "red", 1)
    whole, other = path.read_bytes(), anchors_file(store.run_dir(run_id), "red", 0).stat().st_mtime_ns
    harm(path)
    seen = damaged_files(store, run_id, "changes")
    assert seen == {} if harm is flip_unseen else HARM[harm] in seen["anchors/red/1.safetensors"]
    assert HARM[harm] in damaged_files(store, run_id, "content")["anchors/red/1.safetensors"]
    jobs.reopen(store, run_id)  # though it is done
    assert run_here(store, run_id, execute=execute) == "done"
    assert path.read_bytes() == whole
    assert anchors_file(store.run_dir(run_id), "red", 0).stat().st_mtime_ns == other  # what is whole stays
    assert harm is remove or f"{path} {HARM[harm]}".split(" instead")[0].split(" bytes")[0] in capfd.readouterr().err
    assert damaged_files(store, run_id, "content") == {}
    with pytest.raises(UserError, match="is done: there is nothing left to resume"):
        jobs.may_resume(store, run_id)


@pytest.mark.parametrize("harm", [empty, cut, flip_unseen])
def test_harmed_anchors_are_never_merged_with(store, made, tiny_zoo, harm):
    run_id = made[1]
    harm(anchors_file(store.run_dir(run_id), "red", 0))
    comparing = make_spec(tiny_zoo, tasks=("red",), methods=("fda:ta",), anchors_run=run_id, device="cpu")
    other = store.create_run(comparing)
    run_here(store, other, execute=execute)
    (message,) = (result.message for result in store.results(other)[0] if result.method == "fda:ta")
    assert "anchors/red/0.safetensors" in message and f"`python -m fda runs resume {run_id}` makes it again" in message


def test_a_harmed_merged_model_is_made_again_to_the_same_bytes(store, made):
    path = merged_file(store.run_dir(made[1]), "ta")
    whole, scores = path.read_bytes(), store.results(made[1])[1]
    flip_unseen(path)
    jobs.reopen(store, made[1])
    assert run_here(store, made[1], execute=execute) == "done"
    assert path.read_bytes() == whole and store.results(made[1])[1] == scores


def test_answers_with_a_flipped_bit_are_no_answers(store, made):
    path = predictions_file(store.run_dir(made[1]), "ta")
    assert set(read_answers(path)) == {"red"}
    flip_unseen(path)
    assert read_answers(path) == {}


def test_a_file_that_was_only_touched_is_as_it_was(store, made):
    os.utime(anchors_file(store.run_dir(made[1]), "red", 0), (1, 1))
    assert damaged_files(store, made[1], "changes") == {}


# the store's own file


def wreck(store: Store) -> None:
    store.path.write_bytes(b"no database at all" * 1000)


def wreck_pages(store: Store) -> None:
    sql(store, "PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(store.path.read_bytes())
    data[100:12000] = os.urandom(11900)
    store.path.write_bytes(data)


def lose(store: Store) -> None:
    for path in store.home.glob("fda.db*"):
        path.unlink()


def drain(store: Store) -> None:
    lose(store)
    store.path.write_bytes(b"")


def forget(store: Store) -> None:
    sql(store, "DELETE FROM runs")


def drop(store: Store) -> None:
    sql(store, "DROP TABLE units")


@pytest.mark.parametrize("harm", [wreck, wreck_pages, lose, drain, forget, drop])
def test_a_damaged_or_lost_store_is_told_and_rebuilt(store, made, harm):
    run_id = made[1]
    whole = {path: path.read_bytes() for path in store.run_dir(run_id).rglob("*.safetensors")}
    assert len(whole) == 9
    harm(store)
    with pytest.raises(UserError, match=r"`python -m fda doctor --repair`") as told:
        LiveStore(store.home).runs()
    assert len(str(told.value).splitlines()) == 1
    assert not all(finding.good for finding in examine(store))
    said = list(repair(store))
    assert f"run {run_id} (tiny) is listed again with 2 finished units." in said
    assert harm in (lose, drain, forget) or list(store.home.glob("fda.db.damaged-*"))
    run = LiveStore(store.home).run(run_id)
    assert (run.state, run.units_done) == ("cancelled", 2) and "listed anew" in run.message
    assert [unit.best_step is not None and unit.loss > 0 for unit in store.units(run_id)] == [True, True]
    jobs.reopen(store, run_id)
    assert run_here(store, run_id, execute=execute) == "done"
    assert {path: path.read_bytes() for path in whole} == whole
    assert {result.method for result in store.results(run_id)[0]} == {"pretrained", "individual", "ta"}
    assert all(finding.good for finding in examine(store) if "MiB" not in finding.text)


def test_repair_lists_no_anchors_that_are_cut(store, made):
    cut(anchors_file(store.run_dir(made[1]), "red", 0))
    lose(store)
    list(repair(store))
    assert [(unit.key.block, unit.state) for unit in store.units(made[1])] == [(1, "done")]


def test_a_newer_store_is_left_alone(store):
    sql(store, "PRAGMA user_version = 99")
    sql(store, "PRAGMA wal_checkpoint(TRUNCATE)")
    before = store.path.read_bytes()
    with pytest.raises(UserError, match="newer version of fda .schema 99.: use that version"):
        list(repair(store))
    assert store.path.read_bytes() == before


# one bad row


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        ("spec = '{}'", "field required"),
        ("spec = 'no json'", "invalid JSON"),
        ("spec = x'ff00'", "JSON"),
        ("spec = json_set(spec, '$.version', 9)", "version: input should be 1"),
        ("spec = json_set(spec, '$.zoo.tasks', json('[]'))", "zoo.tasks"),
        ("state = 'asleep'", "its state is 'asleep'"),
        ("kind = 'mystery'", "its kind is 'mystery'"),
        ("created = 'yesterday'", "its created is 'yesterday', which is no such number"),
        ("created = 9e99", "its created is 9e+99, which is no such number"),
        ("pid_started = 'x', pid = 'y'", "its pid is 'y', which is no such number"),
        ("message = x'00ff'", "its device or its message is no text"),
        ("run_id = '../../etc'", "its id is none"),
        (f"spec = '{'[' * 5000}'", "JSON"),
    ],
)
def test_one_bad_row_breaks_no_list_and_can_be_deleted(fda_home, harm, reason):
    store = Store(fda_home)
    good, bad = store.create_run(spec()), store.create_run(spec(seed=1))
    sql(store, f"UPDATE runs SET {harm} WHERE run_id = ?", bad)
    shown = LiveStore(store.home)
    assert [run.run_id for run in shown.runs()] == [good]
    (broken,) = shown.unreadable_runs()
    assert reason.lower() in broken.problem.lower() and "`python -m fda runs delete " in broken.problem
    jobs.settle(store)
    assert [run.run_id for run in shown.runs()] == [good]
    with pytest.raises(UserError, match="cannot be read"):
        shown.run(broken.run_id)
    if broken.active:
        store.request_stop(bad) if broken.run_id == bad else sql(store, "UPDATE runs SET state = 'failed' WHERE id = 2")
    jobs.delete(store, broken.run_id)
    assert shown.unreadable_runs() == [] and [run.run_id for run in shown.runs()] == [good]


# a full disk


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own of 2 MiB; skipped where that needs rights that nobody has here."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path) -> None:
    with (folder / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def test_a_full_disk_is_said_in_the_store_and_nothing_half_written_stays(small_disk, monkeypatch, tiny_zoo):
    store = Store(small_disk / "home")
    monkeypatch.setenv("FDA_HOME", str(store.home))
    run_id = store.create_run(spec())

    def filling(inner, run_id, cancel):
        fill(small_disk)
        units(inner, run_id, cancel)
        (store.run_dir(run_id) / "more").write_bytes(bytes(1 << 20))

    assert run_here(store, run_id, execute=filling) == "failed"
    assert "disk is full: free" in store.run(run_id).message
    assert not (store.run_dir(run_id) / ".reserve").exists()


def test_a_worker_that_dies_on_a_full_disk_is_told_so_by_readers(small_disk):
    store = Store(small_disk / "home")
    run_id = store.create_run(spec())
    store.claim_process(run_id, 2**22 + 1, 1.5)
    store.set_state(run_id, "running")
    fill(small_disk)
    message = LiveStore(store.home).run(run_id).message
    assert f"ended without a word: the disk of {store.home} is full, free some space there" in message
    (small_disk / "ballast").unlink()
    assert "is full" not in LiveStore(store.home).run(run_id).message


def test_tensors_that_find_no_room_leave_no_file(small_disk):
    import torch

    from fda.store.files import save_tensors

    path = small_disk / "anchors" / "0.safetensors"
    save_tensors(path, {"anchors": torch.zeros(10)}, {})
    before = path.read_bytes()
    with pytest.raises(OSError, match="No space left"):
        save_tensors(path, {"anchors": torch.zeros(1 << 20)}, {})
    assert os.listdir(path.parent) == ["0.safetensors"] and path.read_bytes() == before
    assert load_file(path)["anchors"].shape == (10,)

"""Exports as runs: what a page knows of one that runs, ends, fails, is stopped, or was started by another server."""

import io
import re
import zipfile

import pytest

from fda.jobs.liveness import LiveStore
from fda.requests import exports
from fda.store.files import merged_file
from fda.store.records import MethodResult, Run
from fda.store.store import Store
from tests.support.runs import spec, wait_for

PATIENCE = 60

WRITES = "os.mkdir(part); open(part + '/model', 'wb').write(b'x' * 100)"
WAITS = "print('fda: written 40 %', flush=True); time.sleep(60)"


@pytest.fixture
def store(fda_home) -> Store:
    return Store(fda_home)


@pytest.fixture
def run_id(store) -> str:
    made = store.create_run(spec())
    for method in ("pretrained", "individual", "ta", "fda:ta"):
        store.add_result(made, MethodResult(method, "done", {}, 1.0, 1, None))
    store.add_result(made, MethodResult("tsv", "failed", {}, None, None, "no"))
    for method in ("pretrained", "ta", "tsv"):
        merged_file(store.run_dir(made), method).parent.mkdir(parents=True, exist_ok=True)
        merged_file(store.run_dir(made), method).touch()
    return made


def state(store: Store, run_id: str, method: str = "ta", task: str | None = None) -> exports.Export:
    return exports.export_at(store, exports.export_folder(store, run_id, method, task))


def helper_runs(store: Store) -> list[Run]:
    return LiveStore(store.home).runs(kinds=("export",))


def test_offered_is_what_was_merged_and_is_still_there(store, run_id):
    assert exports.exportable(store, run_id) == ["ta"]


def test_every_choice_has_a_folder_of_its_own(store, run_id):
    choices = [
        ("ta", None),
        ("fda:ta", None),
        ("ta:swept", None),
        ("ta", "first"),
        ("ta", "swept"),
        ("fda:ta", "first"),
    ]
    folders = {exports.export_folder(store, run_id, *choice) for choice in choices}
    assert len(folders) == len(choices) and {folder.parent for folder in folders} == {store.home / "exports"}


def test_an_export_that_ends_well_is_there_for_every_server_and_is_not_made_twice(store, run_id, work):
    assert state(store, run_id).state == "none"
    work("export_written")
    exports.start_export(store, run_id, "ta")
    assert state(store, run_id).state == "running"
    wait_for(lambda: state(store, run_id).state == "done", PATIENCE)
    wait_for(lambda: helper_runs(store)[0].state == "done", PATIENCE)
    assert (state(store, run_id).bytes, state(store, run_id, "fda:ta").state) == (100, "none")
    exports.start_export(store, run_id, "ta")
    assert state(store, run_id).state == "done" and len(helper_runs(store)) == 1
    packed = zipfile.ZipFile(io.BytesIO(exports.zipped(state(store, run_id).folder)))
    assert packed.namelist() == [f"{run_id}-ta/model"] and packed.read(f"{run_id}-ta/model") == b"x" * 100
    assert not [path for path in (store.home / "exports").iterdir() if path.name.startswith("tmp")]
    exports.remove_export(store, run_id, "ta")
    assert list((store.home / "exports").iterdir()) == [] and state(store, run_id).state == "none"


def test_progress_is_the_bytes_of_the_run_s_unit_and_a_second_press_finds_it(store, run_id, work):
    work("export_waiting")
    exports.start_export(store, run_id, "ta", "first")
    wait_for(lambda: state(store, run_id, task="first").share == 0.4, PATIENCE)
    assert state(store, run_id).state == "none"  # without the head it is another one
    exports.start_export(store, run_id, "ta", "first")
    assert len(helper_runs(store)) == 1


def test_a_stopped_export_leaves_nothing(store, run_id, work):
    work("export_waiting")
    exports.start_export(store, run_id, "ta")
    wait_for(lambda: state(store, run_id).share == 0.4, PATIENCE)
    exports.stop_export(store, run_id, "ta")
    wait_for(lambda: helper_runs(store)[0].state == "cancelled", PATIENCE)
    assert list((store.home / "exports").iterdir()) == [] and state(store, run_id).state == "none"
    exports.stop_export(store, run_id, "ta")  # a second click


@pytest.mark.parametrize(
    ("name", "says"), [("export_refused", "the disk is 100 % full"), ("vanishing", "without a word; start it again.")]
)
def test_an_export_that_fails_says_why_and_can_be_tried_again(store, run_id, work, name, says):
    work(name)
    exports.start_export(store, run_id, "ta")
    wait_for(lambda: state(store, run_id).state == "failed", PATIENCE)
    assert says in re.sub(r" \(heartbeat lost .*? ago\)", "", state(store, run_id).message)
    work("export_written")
    exports.start_export(store, run_id, "ta")
    wait_for(lambda: state(store, run_id).state == "done", PATIENCE)


def test_a_folder_that_cannot_be_made_is_one_sentence(store, run_id, work):
    (store.home / "exports").touch()
    work("export_written")
    exports.start_export(store, run_id, "ta")
    wait_for(lambda: state(store, run_id).state == "failed", PATIENCE)
    assert "cannot be made" in state(store, run_id).message

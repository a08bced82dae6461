"""Exports as processes: what a page knows of one that runs, ends, fails, is stopped, or was started by another server."""

import io
import os
import sys
import zipfile

import pytest

from fda.errors import UserError
from fda.jobs import background
from fda.processes import is_alive
from fda.requests import exports
from fda.store.files import merged_file
from fda.store.records import MethodResult
from fda.store.store import Store
from tests.support.runs import spec, wait_for

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


@pytest.fixture
def does(monkeypatch):
    """`does(code)`: what exports that start from now on do; `out` and `part` are the folder's two names. None outlives."""
    started = []

    def do(code: str) -> None:
        lines = "import os, sys, time; out = sys.argv[1]; head, tail = os.path.split(out)"
        lines += "; part = os.path.join(head, f'.{tail}.part'); "
        monkeypatch.setattr(exports, "_command", lambda words: [sys.executable, "-c", lines + code, words[-1]])

    real = background.detached
    monkeypatch.setattr(background, "detached", lambda *args: started.append(real(*args)) or started[-1])
    yield do
    for child in started:
        child.kill()
        child.wait()
    background._children.clear()


def state(store: Store, run_id: str, method: str = "ta", task: str | None = None) -> exports.Export:
    return exports.look(exports.export_folder(store, run_id, method, task))


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


def test_an_export_that_ends_well_is_there_for_every_server_and_is_not_made_twice(store, run_id, does):
    assert state(store, run_id).state == "none"
    does(f"{WRITES}; time.sleep(0.3); os.rename(part, out)")
    exports.start_export(store, run_id, "ta")
    assert state(store, run_id).state == "running"
    wait_for(lambda: state(store, run_id).state == "done", 15)
    background._children.clear()  # as in another server
    assert (state(store, run_id).bytes, state(store, run_id, "fda:ta").state) == (100, "none")
    does("raise SystemExit('a second process')")
    exports.start_export(store, run_id, "ta")
    assert state(store, run_id).state == "done"
    packed = zipfile.ZipFile(io.BytesIO(exports.zipped(state(store, run_id).folder)))
    assert packed.namelist() == [f"{run_id}-ta/model"] and packed.read(f"{run_id}-ta/model") == b"x" * 100
    assert not [path for path in (store.home / "exports").iterdir() if path.name.startswith("tmp")]
    exports.remove_export(store, run_id, "ta")
    assert list((store.home / "exports").iterdir()) == [] and state(store, run_id).state == "none"


def test_progress_is_read_from_what_the_command_says(store, run_id, does):
    does(f"{WRITES}; {WAITS}")
    exports.start_export(store, run_id, "ta", "first")
    wait_for(lambda: state(store, run_id, task="first").share == 0.4, 15)
    assert state(store, run_id).state == "none"  # without the head it is another one


def test_a_stopped_export_leaves_nothing(store, run_id, does):
    does(f"{WRITES}; {WAITS}")
    exports.start_export(store, run_id, "ta")
    wait_for(lambda: state(store, run_id).share == 0.4, 15)
    noted = exports._background(state(store, run_id).folder).noted
    process = (noted["pid"], noted["started"])
    assert is_alive(*process)
    exports.stop_export(store, run_id, "ta")
    assert not is_alive(*process)
    assert list((store.home / "exports").iterdir()) == [] and state(store, run_id).state == "none"
    exports.stop_export(store, run_id, "ta")  # a second click


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (
            "print('fda: written 10 %\\nfda: the disk is 100 % full', file=sys.stderr); sys.exit(2)",
            "the disk is 100 % full",
        ),
        ("os.abort()", "without a word"),
    ],
)
def test_an_export_that_fails_says_why_and_can_be_tried_again(store, run_id, does, code, says):
    does(code)
    exports.start_export(store, run_id, "ta")
    wait_for(lambda: state(store, run_id).state == "failed", 15)
    assert says in state(store, run_id).message
    does(f"{WRITES}; os.rename(part, out)")
    exports.start_export(store, run_id, "ta")
    wait_for(lambda: state(store, run_id).state == "done", 15)


def test_what_cannot_be_started_is_one_sentence(store, run_id, does):
    (store.home / "exports").touch()
    does("pass")
    with pytest.raises(UserError, match="could not be started"):
        exports.start_export(store, run_id, "ta")


def test_a_process_that_got_the_number_of_an_ended_one_is_not_taken_for_it(store, run_id, does):
    does(WAITS)
    exports.start_export(store, run_id, "ta")
    folder = state(store, run_id).folder
    exports._background(folder).note.write_text(f'{{"pid": {os.getpid()}, "started": 1.0}}')
    assert state(store, run_id).state == "failed"

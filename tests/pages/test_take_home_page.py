"""Compare's card for taking a merged model home: what it offers, what it starts, and what it tells of each state."""

import os

import pytest
import yaml
from streamlit.testing.v1 import AppTest

from fda.errors import UserError
from fda.home import REPO
from fda.processes import start_time
from fda.requests import exports
from fda.requests.exports import export_folder
from fda.requests.runs import make_spec
from fda.store.files import merged_file
from fda.store.records import MethodResult, Score, UnitKey
from fda.store.store import Store
from fda.ui.notices import sentence

TASKS = ("digits", "faces")
RATES = {"pretrained": 0.4, "individual": 0.9, "average": 0.5, "ta": 0.7, "fda:ta": 0.6}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """`made(head)`: the id of a finished run whose merged files are there; `head`: the tasks have files for heads."""
    monkeypatch.setenv("FDA_MODEL_ROOTS", str(tmp_path))

    def make(head: bool) -> str:
        tasks = []
        for name in TASKS:
            (tmp_path / name).mkdir()
            (tmp_path / name / "config.json").write_text("{}")
            (tmp_path / f"{name}.safetensors").touch()
            own = {"head": f"{name}.safetensors"} if head else {}
            tasks.append({"name": name, "model": name, "data": {"path": name}} | own)
        (tmp_path / "base").mkdir()
        path = tmp_path / "zoo.yaml"
        path.write_text(yaml.safe_dump({"name": "mine", "base": {"model": "base"}, "tasks": tasks}))
        store = Store()
        run_id = store.create_run(make_spec(path, methods=("average", "ta"), device="cpu"))
        for method, rate in RATES.items():
            scores = [Score(method, task, "test", "accuracy", rate, 100) for task in TASKS]
            store.add_result(run_id, MethodResult(method, "done", {"selection": "fixed"}, 1.0, 1, None), scores)
            if method != "individual":
                file = merged_file(store.run_dir(run_id), method)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
        store.set_state(run_id, "done")
        return run_id

    return make


@pytest.fixture
def started(monkeypatch) -> list[tuple]:
    """What the page starts; no process runs."""
    calls: list[tuple] = []
    monkeypatch.setattr(exports, "start_export", lambda store, *choice: calls.append(choice))
    return calls


def page(run_id: str, **query: str) -> AppTest:
    at = AppTest.from_file(str(REPO / "pages" / "frame.py"), default_timeout=60)
    for key, value in {"run": run_id, "view": "Scores", **query}.items():
        at.query_params[key] = value
    at.switch_page("run.py").run()
    assert not at.exception, at.exception
    return at


def code(at: AppTest) -> str:
    return "\n".join(one.value for one in at.code)


def test_the_best_model_is_offered_first_and_the_checkpoints_themselves_are_not(made, started):
    run_id = made(head=True)
    at = page(run_id)
    method = at.selectbox(key="take")
    assert method.options == ["Task arithmetic", "FDA (TA)", "Weight average"] and method.value == "ta"
    assert "head" not in {one.key for one in at.selectbox}  # heads in files go along anyway
    method.select("fda:ta").run()
    assert f"fda export {run_id} --method fda:ta --out" in code(at) and "--push ORG/" in code(at)
    at.button(key="take_start").click().run()
    assert started == [(run_id, "fda:ta", None)] and not at.exception


def test_a_head_of_a_checkpoint_goes_along_if_it_is_chosen(made, started):
    run_id = made(head=False)
    at = page(run_id)
    assert at.selectbox(key="head").value is None and "--task" not in code(at)
    at.selectbox(key="head").select("faces").run()
    assert f"export {run_id} --method ta --task faces --out" in code(at)
    at.button(key="take_start").click().run()
    assert started == [(run_id, "ta", "faces")]


def test_a_link_holds_the_choice(made):
    at = page(made(head=False), take="Weight average", head="faces")
    assert "--method average --task faces" in code(at)


def test_each_state_of_an_export_is_told(made, monkeypatch):
    run_id, store = made(head=True), Store()
    folder = export_folder(store, run_id, "ta", None)
    helper = store.create_run(exports.export_spec(store, run_id, "ta", None))
    store.set_state(helper, "failed", "the zoo file is gone: put it back.")
    at = page(run_id)
    assert [one.value for one in at.error] == [sentence("the export failed: the zoo file is gone: put it back.")]
    assert at.button(key="take_start").label == "Try again"

    helper = store.create_run(exports.export_spec(store, run_id, "ta", None))
    store.claim_process(helper, os.getpid(), start_time(os.getpid()))
    store.set_state(helper, "running")
    store.add_units(helper, [(UnitKey("export", "ta"), 100)])
    store.update_unit(helper, UnitKey("export", "ta"), step=40)
    at = page(run_id)
    assert at.button(key="take_stop").label == "Stop" and not at.error
    assert "writing, 40%" in str(at.get("progress")[0].proto)

    store.set_state(helper, "done")
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"x" * 2048)
    at = page(run_id)
    assert "2 KiB" in at.success[0].value and str(folder) in code(at)
    assert [one.proto.label for one in at.get("download_button") if "zip" in one.proto.label] == ["Download as zip"]
    monkeypatch.setattr("fda.ui.run.take_home.MOST_ZIPPED", 1024)
    at = page(run_id)
    assert not [one for one in at.get("download_button") if "zip" in one.proto.label]
    assert any("Larger than 1 KiB" in one.value for one in at.caption)
    at.button(key="take_sure").click().run()
    assert not folder.exists() and at.button(key="take_start").label == "Write the folder"


def test_what_goes_wrong_at_the_start_is_a_sentence_on_the_page(made, monkeypatch):
    def refuse(*_: object) -> None:
        raise UserError("the disk is full: free space.")

    monkeypatch.setattr(exports, "start_export", refuse)
    at = page(made(head=True))
    at.button(key="take_start").click().run()
    assert [one.value for one in at.error] == [sentence("the disk is full: free space.")]


def test_a_run_whose_merged_files_are_gone_has_no_card(made):
    run_id = made(head=True)
    for file in (Store().run_dir(run_id) / "merged").iterdir():
        file.unlink()
    assert "take" not in {one.key for one in page(run_id).selectbox}

"""The form of one's own checkpoints: what it says of wrong fields, what it writes; and the download that a page starts."""

import json

import pytest
import yaml
from streamlit.testing.v1 import AppTest

from fda.errors import UserError
from fda.home import REPO
from fda.requests import downloads
from fda.requests.downloads import Download
from fda.store.spec import RunSpec
from fda.ui import before_start, own_zoo, survey
from fda.zoos import hub
from fda.zoos.own_zoo import Draft, TaskDraft
from fda.zoos.zoo import own_folder

MODEL = {"architecture": "bert", "dtype": "F32", "blocks": 2, "tensors_per_block": 16, "width": 16, "bytes": 2**20}


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    """A base and a finetuned model below the only root, and an empty cache of the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("FDA_MODEL_ROOTS", f"{tmp_path}:{own_folder()}")
    for name in ("base", "first"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "models" / "data" / "first").mkdir(parents=True)
    (tmp_path / "models" / "data" / "first" / "test.csv").write_text("idx,text,label\n0,a,1\n")
    own_zoo._near.clear()
    survey._preview.clear()


@pytest.fixture(autouse=True)
def told(monkeypatch):
    """What a preview answers; a survey is refused."""
    found = {
        "problems": [],
        "notes": [],
        "download_bytes": 0,
        "data_bytes": 0,
        "disk_free_bytes": 2**30,
        "disk_bytes": 0,
        "memory_bytes": None,
        "seconds": None,
    }

    def answer(spec: RunSpec, **_: object) -> dict:
        if spec.kind != "preview":
            raise UserError("no tensor is here.")
        return found

    def row(role: str, where: str) -> dict:
        there = {"model": f"org/{role}", "where": where, "parameters": 5000, "to_download": 2**20 * (where == "hub")}
        return {"role": role} | MODEL | there

    found["models"] = [row("base", "hub"), row("first", "here")]
    monkeypatch.setattr(survey, "answer", answer)
    yield found


def page(state: dict | None = None, **query: str) -> AppTest:
    at = AppTest.from_file(str(REPO / "pages" / "checkpoints.py"), default_timeout=30)
    for name, value in (state or {}).items():
        at.session_state[name] = value
    for name, value in query.items():
        at.query_params[name] = value
    return at.run()


def form() -> AppTest:
    """The page with the form open and filled in from the folder nearby."""
    at = page(zoo="demo")
    at.session_state[own_zoo.OPEN] = True
    at.run()
    at.selectbox(key="own_family_folder").select_index(0).run()
    return at.button(key="own_fill").click().run()


def typed(name: str = "mine", model: str = "models/first") -> AppTest:
    """The page as it is met again when this had been typed: widgets forget what they held while another page is looked at."""
    draft = Draft(name, "models/base", tasks=(TaskDraft("first", model),))
    return page({own_zoo.OPEN: True, "own_draft": draft}, zoo="demo")


def still_to_do(at: AppTest) -> str:
    return next((one.value for one in at.caption if one.value.startswith("Still to do")), "")


def test_a_folder_that_is_no_model_is_told_as_it_is_typed(tmp_path):
    assert "a folder of models (base, first)" in still_to_do(typed(model="models"))
    assert "a folder without weights" in still_to_do(typed(model="models/data"))
    (tmp_path / "models" / "first" / "config.json").rename(tmp_path / "models" / "first" / "weights.pt")
    assert still_to_do(typed()) == ""


def test_a_folder_of_models_fills_the_form_in_and_becomes_a_zoo_file(tmp_path):
    at = form()
    assert still_to_do(at) == "" and not at.error
    at.button(key="own_save").click().run()
    written = yaml.safe_load((own_folder() / "models.yaml").read_text())
    folder = tmp_path / "models"
    assert written["base"] == {"model": str(folder / "base")} and written["family"] == "roberta-base"
    (task,) = written["tasks"]
    assert task["name"] == "first" and task["model"] == str(folder / "first")
    data = {"path": str(folder / "data" / "first"), "split": "test", "input": "text", "label": "label"}
    assert task["data"] == data
    assert at.selectbox(key="zoo_choice").value == "models" and list(at.dataframe[0].value["role"]) == ["base", "first"]


def test_the_architecture_is_asked_for_where_open_clip_saved_the_weights():
    at = form()
    assert "own.architecture" not in [one.key for one in at.text_input]
    at.selectbox(key="own.kind").set_value("open_clip").run()
    at.text_input(key="own.architecture").set_value("ViT-B-32-quickgelu").run()
    at.button(key="own_save").click().run()
    written = yaml.safe_load((own_folder() / "models.yaml").read_text())
    assert written["base"]["architecture"] == "ViT-B-32-quickgelu" and written["base"]["kind"] == "open_clip"


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("own.name", "my zoo", "the zoo's name, my zoo, cannot be a file's name"),
        ("own.name", "demo", "demo is the name of a shipped zoo"),
        ("own.0.name", "", "the name of task 1 is missing"),
        ("own.0.name", "../x", "cannot be a file's name"),
        ("own.0.split", "", "the test split of first is missing"),
        ("own.0.input", "a, b, c", "the input of first is one column, or two"),
    ],
)
def test_what_is_wrong_with_a_field_is_said_while_it_is_typed_and_when_it_is_saved(key, value, says):
    at = form()
    at.text_input(key=key).set_value(value).run()
    assert says[1:] in still_to_do(at).replace("\\", "")  # its first letter is a capital
    at.button(key="own_save").click().run()
    assert len(at.error) == 1 and says[1:] in at.error[0].value.replace("\\", "")
    assert not list(own_folder().glob("*.yaml"))


@pytest.mark.parametrize(
    ("model", "says"),
    [("nowhere", "neither there nor a hub id"), ("/etc", "outside the folders"), ("../..", "outside the folders")],
)
def test_a_model_that_is_not_there_or_not_allowed_is_refused(model, says):
    assert says in still_to_do(typed(model=model))


def test_two_tasks_of_one_name_are_refused_and_a_task_can_be_taken_away():
    at = form()
    at.button(key="own_add").click().run()
    at.text_input(key="own.1.name").set_value("first").run()
    at.selectbox(key="own.1.model").set_value("models/first").run()
    assert "wo tasks are called first" in still_to_do(at)
    at.button(key="own.1.remove").click().run()
    assert still_to_do(at) == "" and "own.1.name" not in at.session_state


def test_what_was_typed_is_there_after_another_page():
    at = form()
    at.text_input(key="own.name").set_value("kept").run()
    assert at.session_state["own_draft"].name == "kept"
    at = typed(name="kept")
    assert at.text_input(key="own.name").value == "kept" and at.text_input(key="own.0.name").value == "first"


def test_a_mismatch_is_named_and_corrected_in_the_form(told):
    told["problems"] = ["first: tensor x has shape [3] where [4] is expected", "first: 3 more tensors do not fit"]
    form().button(key="own_save").click().run()
    at = page(zoo="models")
    assert len(at.error) == 1 and "has shape" in at.error[0].value and any("3 more" in one.value for one in at.markdown)
    at.button(key="own_correct").click().run()
    assert at.text_input(key="own.0.name").value == "first" and "has shape" in at.error[0].value


@pytest.mark.parametrize("broken", [False, True])
def test_a_zoo_file_of_mine_is_deleted_even_if_it_is_broken(told, broken):
    told["problems"] = ["first: tensor x has shape [3] where [4] is expected"]
    form().button(key="own_save").click().run()
    if broken:
        (own_folder() / "models.yaml").write_text("name: [")
    at = page(zoo="models")
    at.button(key="own_sure_delete").click().run()
    assert list(own_folder().iterdir()) == [] and at.selectbox(key="zoo_choice").value == "demo"


def hub_zoo() -> None:
    own_folder().mkdir(parents=True)
    text = "name: far\nbase: {model: org/base}\ntasks: [{name: first, model: org/first}]\n"
    (own_folder() / "far.yaml").write_text(text)


def test_a_zoo_on_the_hub_is_seen_first_and_then_downloaded(told, monkeypatch):
    hub_zoo()
    started = []
    monkeypatch.setattr(downloads, "start_download", lambda store, path, zoo: started.append(zoo.name))
    told["download_bytes"] = 3 * 2**20
    at = page(zoo="far")
    assert {one.label: one.value for one in at.metric}["To download"] == "3 MiB" and not at.error
    assert list(at.dataframe[0].value["where"]) == ["on the hub, 1 MiB to come", "here"]
    assert at.button(key="download_start").label == "Download 3 MiB"
    at.button(key="download_start").click().run()
    assert started == ["far"]


@pytest.mark.parametrize(
    ("state", "button", "says"),
    [
        (Download("running", 0.4, "org/base/model.safetensors"), "download_stop", "40%, org/base/model.safetensors"),
        (Download("failed", message="the hub did not answer: try again"), "download_start", "the hub did not answer"),
    ],
)
def test_each_state_of_a_download_is_told(told, monkeypatch, state, button, says):
    hub_zoo()
    monkeypatch.setattr(before_start, "download_of", lambda *_: state)
    at = page(zoo="far")
    assert at.button(key=button) is not None
    said = [one.value for one in at.error] + [str(one.proto) for one in at.get("progress")]
    assert any(says in one for one in said)


def test_a_download_that_ends_while_the_page_is_made_is_not_offered_again(told, monkeypatch):
    """The page asked what is missing; by the time it asks how far the download is, everything has come."""
    hub_zoo()

    def all_here(*_: object) -> Download:
        monkeypatch.setattr(hub, "missing_models", lambda _: [])
        monkeypatch.setattr(survey, "missing_models", lambda _: [])
        return Download("done", 1.0)

    monkeypatch.setattr(before_start, "download_of", all_here)
    at = page(zoo="far")
    assert not [one for one in at.button if one.key == "download_start"]
    assert [one.value for one in at.error] == ["No tensor is here."], "the checkpoints are read now"


def test_what_does_not_fit_is_not_downloaded(told):
    hub_zoo()
    told["problems"], told["download_bytes"] = ["first is a vit model, but the base is a bert model"], 2**20
    at = page(zoo="far")
    assert len(at.error) == 1 and not [one for one in at.button if one.key == "download_start"]


def test_a_typed_folder_is_told_for_what_it_is_and_fills_the_form_in(tmp_path):
    at = page(zoo=str(tmp_path / "models"))
    assert "holds a base (base) and 1 finetuned model (first), but no zoo.yaml" in at.error[0].value
    at.button(key="own_from_folder").click().run()
    assert still_to_do(at) == "" and at.text_input(key="own.0.name").value == "first"
    for folder, told in (
        ("models/first", "is one model"),
        ("models/data/first", "folder of data"),
        ("models/data", "without"),
    ):
        at = page(zoo=str(tmp_path / folder))
        assert told in at.error[0].value and "own_from_folder" not in [one.key for one in at.button]


def test_a_typed_folder_with_a_zoo_file_is_that_zoo(tmp_path):
    at = form()
    at.button(key="own_save").click().run()
    (own_folder() / "models.yaml").rename(tmp_path / "models" / "zoo.yaml")
    at = page(zoo=str(tmp_path / "models"))
    assert list(at.dataframe[0].value["role"]) == ["base", "first"]

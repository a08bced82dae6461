"""Every page on a real store: what it shows, its empty states, its notices, what it starts. No page may raise."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from streamlit.testing.v1 import AppTest

from fda.atomic import write_text
from fda.errors import UserError
from fda.home import REPO
from fda.jobs import lifecycle as jobs
from fda.processes import start_time
from fda.report.replay import when_and_where
from fda.requests.helper_runs import result_file
from fda.requests.runs import make_spec
from fda.settings import FAST_CONSTRUCT
from fda.store.analyses import content_of, table_of
from fda.store.records import MethodResult, Score, UnitKey
from fda.store.spec import RunSpec
from fda.store.store import Store
from fda.ui import old_links, survey
from fda.ui.recording import demo, recording_of

PAGES = ("home", "checkpoints", "construct", *old_links.VIEWS, "playground", "paper", "speed")
UNKNOWN = "20260101-000000-dead"


@pytest.fixture
def zoo(tmp_path, monkeypatch) -> Path:
    """A zoo file whose checkpoints are named but empty: all that pages themselves read."""
    monkeypatch.setenv("FDA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FDA_MODEL_ROOTS", str(tmp_path))
    tasks = []
    for name in ("digits", "faces"):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.safetensors").touch()
        data = {"path": name, "split": "test"}
        tasks.append({"name": name, "model": name, "head": f"{name}.safetensors", "data": data})
    (tmp_path / "base").mkdir()
    path = tmp_path / "zoo.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", "base": {"model": "base"}, "tasks": tasks}))
    return path


@pytest.fixture
def store(zoo) -> Store:
    return Store()


@pytest.fixture
def started(monkeypatch) -> list[RunSpec]:
    """The specs that pages start; no worker runs."""
    specs: list[RunSpec] = []

    def start(store: Store, spec: RunSpec) -> str:
        specs.append(spec)
        return store.create_run(spec)

    monkeypatch.setattr(jobs, "start", start)
    return specs


def page(name: str, **query: str) -> AppTest:
    """The page as a browser that came through the frame sees it. A name of old: the view of the run page it leads to."""
    if name in old_links.VIEWS:
        name, query = "run", old_links.query(name, query)
    at = AppTest.from_file(str(REPO / "pages" / "frame.py"), default_timeout=60)
    for key, value in query.items():
        at.query_params[key] = value
    at.switch_page(f"{name}.py").run()
    assert not at.exception, at.exception
    return at


def at_work(store: Store, zoo: Path) -> str:
    """A run whose worker is this very process: one unit finished, one at work."""
    spec = make_spec(zoo, construct=FAST_CONSTRUCT, methods=("ta", "fda:ta"), device="cpu")
    run_id = store.create_run(spec)
    store.claim_process(run_id, os.getpid(), start_time(os.getpid()))
    store.set_state(run_id, "running")
    keys = [UnitKey("construct", name, block) for name in spec.tasks for block in range(2)]
    store.add_units(run_id, [(key, 60) for key in keys])
    for key in keys[:2]:
        store.add_scalars(run_id, key, [("angle_loss", step, 1 / (1 + step)) for step in range(60)])
        store.add_scalars(run_id, key, [("similarity", step, 0.25) for step in (0, 30, 59)])
        for step in (0, 30, 59):
            store.add_snapshot(run_id, key, step, "spectrum", np.linspace(1, 0.1, 20))
    store.update_unit(run_id, keys[0], state="done", step=60, loss=0.02, seconds=3.0)
    store.update_unit(run_id, keys[1], state="running", step=30, loss=0.04, seconds=1.5)
    store.add_system(run_id, {"memory_bytes": 1e9})
    store.plan_phases(run_id, {"construct": 8.0, "adapt": 100.0, "merge": 5.0, "score": 70.0}, time.time())
    store.update_phase(run_id, "construct", seconds=3.0)
    store.update_phase(run_id, "construct", began=time.time())
    return run_id


def finished(store: Store, zoo: Path) -> str:
    run_id = at_work(store, zoo)
    for index, method in enumerate(("pretrained", "individual", "ta")):
        scores = [Score(method, task, "test", "accuracy", 0.5 + 0.1 * index, 50) for task in ("digits", "faces")]
        store.add_result(run_id, MethodResult(method, "done", {"selection": "fixed"}, 1.0, 2**20, None), scores)
    store.add_result(run_id, MethodResult("fda:ta", "failed", {}, None, None, "the anchors of [digits] are missing"))
    store.set_state(run_id, "done")
    return run_id


def figures(at: AppTest) -> dict[str, dict]:
    """Every figure on the page by its alternative text, as plotly's JSON."""
    found = {}
    for element in at.get("bidi_component"):
        data = json.loads(element.proto.json) if element.proto.json else {}
        if "figure" in data:
            found[data["alt"]] = json.loads(data["figure"])
    return found


def text(at: AppTest) -> str:
    parts = [*at.markdown, *at.caption, *at.error, *at.info, *at.title, *at.header, *at.code]
    return "\n".join(str(part.value) for part in parts)


def status(at: AppTest) -> dict:
    """What the line and the bar of Watch say."""
    told = [json.loads(element.proto.json or "{}") for element in at.get("bidi_component")]
    return next(data for data in told if "line" in data)


def press(at: AppTest, key: str) -> AppTest:
    at.button(key=key).click().run()
    assert not at.exception, at.exception
    return at


# every page --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_every_page_opens_on_an_empty_store(name, store, monkeypatch):
    monkeypatch.setattr(survey, "answer", refuse("no checkpoints here: build the demo zoo."))
    at = page(name)
    assert at.title[0].value
    assert at.get("popover")[0].markdown[0].value, "one sentence that says what it shows"


@pytest.mark.parametrize(
    "name", [name for name in PAGES if name not in ("playground", "paper", "speed")]
)  # which read no store
def test_a_store_that_cannot_be_used_is_a_notice_and_loses_no_page(name, zoo, tmp_path, monkeypatch):
    (tmp_path / "home").write_text("a file where a folder should be")
    monkeypatch.setattr(survey, "answer", refuse("no checkpoints here."))
    at = page(name)
    assert at.error and "raceback" not in text(at)


@pytest.mark.parametrize("name", ["watch", "compare"])
def test_an_unknown_run_in_the_url_is_a_notice_that_says_what_to_do(name, store, zoo):
    finished(store, zoo)
    at = page(name, run=UNKNOWN)
    assert UNKNOWN in text(at) and "hoose one of the list above" in text(at)


@pytest.mark.parametrize("name", ["watch", "compare"])
@pytest.mark.parametrize("wrong", ["../../etc/passwd", "<script>", UNKNOWN])
def test_a_run_id_that_is_none_is_a_notice_even_on_an_empty_store(name, wrong, store):
    assert page(name, run=wrong).error


def test_no_page_loads_torch(zoo, store):
    run_id = finished(store, zoo)
    code = f"""
import sys
from streamlit.testing.v1 import AppTest
from fda.ui import old_links
for name in {PAGES!r}:
    at = AppTest.from_file({str(REPO / "pages" / "frame.py")!r}, default_timeout=60)
    at.query_params["run"] = {run_id!r}
    at.query_params["zoo"] = {str(zoo)!r}
    if name in old_links.VIEWS:
        at.query_params["view"], name = old_links.VIEWS[name], "run"
    at.switch_page(f"{{name}}.py").run()
    assert not at.exception, (name, at.exception)
print("heavy:", [name for name in ("torch", "transformers", "open_clip", "datasets") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO, timeout=200)
    assert "heavy: []" in done.stdout, done.stdout + done.stderr


# home --------------------------------------------------------------------------------------------------------------------


def test_home_shows_a_run_at_work_with_a_button_that_stops_it(store, zoo):
    run_id = at_work(store, zoo)
    at = page("home")
    (told,) = [bar.proto.text for bar in at.get("progress")]
    assert run_id in text(at) and told.startswith("constructing anchors 38 % · about ") and " left in all · " in told
    assert at.button(key=f"stop-{run_id}").label == "Stop"
    assert list(at.dataframe[0].value["state"]) == ["running"]


def test_home_plays_the_recorded_demo_and_says_when_and_where_it_was_recorded(store):
    at = page("home")
    (played,) = [data for one in at.get("bidi_component") if "scene" in (data := json.loads(one.proto.json or "{}"))]
    scene, recorded = json.loads(played["scene"]), demo()
    assert (
        played["label"] == f"Recorded on {when_and_where(recorded)}" and str(recorded.machine.cores) in played["label"]
    )
    assert [phase["name"] for phase in scene["phases"]] == ["anchors", "adapt", "score"]
    assert [one["percent"] / 100 for one in scene["methods"]] == pytest.approx(
        [one.average for one in recorded.methods]
    )
    assert sum(phase["seconds"] for phase in scene["phases"]) == 20


def test_home_tells_what_is_wrong_with_a_damaged_recording_and_goes_on(store, tmp_path, monkeypatch):
    (tmp_path / "demo.json").write_text("{")
    monkeypatch.setattr("fda.ui.recording.DEMO", tmp_path / "demo.json")
    demo.cache_clear()
    at = page("home")
    demo.cache_clear()
    assert "no recording of version 1" in at.error[0].value
    assert "Run it here" in [button.label for button in at.button]


def test_a_finished_run_of_the_store_is_replayed_and_made_anew_when_it_changes(store, zoo):
    run_id = finished(store, zoo)
    first = recording_of(store.run(run_id), store)
    assert [one.method for one in first.methods] == ["pretrained", "individual", "ta"]
    assert recording_of(store.run(run_id), store) is first
    store.describe(run_id, name="renamed")
    assert recording_of(store.run(run_id), store).title == "renamed"


def test_home_says_how_long_the_demo_takes(store):
    assert re.search(r"Takes about .+ \(measured elsewhere\), without network or GPU", text(page("home")))


def test_home_starts_the_demo(store, started, monkeypatch):
    monkeypatch.setattr("fda.zoos.zoo.PRESET_ZOOS", REPO / "assets" / "zoos")
    monkeypatch.setenv("FDA_MODEL_ROOTS", str(REPO))
    at = page("home")
    button = next(button for button in at.button if button.label == "Run it here")
    button.click().run()
    assert not at.exception
    (spec,) = started
    assert spec.zoo.name == "demo" and spec.construction.preset == "fast" and len(spec.methods) == 8


# checkpoints -------------------------------------------------------------------------------------------------------------


def refuse(sentence: str) -> Callable:
    def answer(*_: object, **__: object) -> None:
        raise UserError(sentence)

    return answer


def test_checkpoints_shows_what_was_found(zoo, store, started, monkeypatch):
    tensor = {"name": "ln.weight", "shape": [16], "dtype": "F32"}
    found = {
        "name": "mine",
        "description": None,
        "path": str(zoo),
        "base": {"model": "base", "kind": "open_clip", "fingerprint": "x", "parameters": 567_000, "bytes": 2**20},
        "width": 16,
        "tokens": 5,
        "layout": "fused qkv",
        "blocks": [{"index": index, "prefix": f"b.{index}.", "tensors": [tensor]} for index in range(2)],
        "treatments": [{**tensor, "name": f"b.{index}.ln.weight", "treatment": "vector", "linear": False} for index in (0, 1)],
        "tasks": [
            {"name": name, "title": None, "description": None, "model": name, "bytes": 2**20, "fingerprint": "y",
             "classes": 10, "data": None, "norms": [1.0, 2.0], "norm_outside_blocks": 0.0}
            for name in ("digits", "faces")
        ],
        "cosines": {"tasks": ["digits", "faces"], "all": [[1, 0.1], [0.1, 1]], "blocks": [[[1, 0.3], [0.3, 1]]] * 2},
        "problems": [],
    }  # fmt: skip
    model = {"model": str(zoo.parent), "where": "here", "architecture": "open_clip", "parameters": 567_000, "dtype": "F32",
             "bytes": 2**20, "to_download": 0, "blocks": 2, "tensors_per_block": 1, "width": 16}  # fmt: skip
    told = {
        "models": [{"role": role, **model} for role in ("base", "digits", "faces")],
        "problems": [],
        "notes": ["task 'faces' is BF16, the base F32; merged models are as the base is"],
        "download_bytes": 0,
        "data_bytes": 2**22,
        "disk_free_bytes": 2**30,
        "disk_bytes": 2**20,
        "memory_bytes": 2**29,
        "seconds": 90.0,
    }

    monkeypatch.setattr(survey, "answer", lambda spec, **_: told if spec.kind == "preview" else found)
    at = page("checkpoints", zoo=str(zoo))
    metrics = {metric.label: metric.value for metric in at.metric}
    assert metrics["Memory, about"] == "512 MiB" and metrics["To download"] == "nothing"
    assert "Layout fused qkv" in text(at)
    assert metrics["Anchors, paper's settings"] == "1 min 30 s" and metrics["Data, unpacked"].startswith("4")
    assert any("BF16" in caption.value for caption in at.caption)
    cosines = next(figure for alt, figure in figures(at).items() if alt.startswith("Cosine"))
    assert "0.10" in cosines["data"][1]["text"]
    at.selectbox(key="where").set_value("block 1").run()
    cosines = next(figure for alt, figure in figures(at).items() if alt.startswith("Cosine"))
    assert "0.30" in cosines["data"][1]["text"] and "block 1" in cosines["layout"]["title"]["text"]
    models, tasks = (frame.value for frame in at.dataframe[:2])
    assert list(models["role"]) == ["base", "digits", "faces"] and list(tasks["task"]) == ["digits", "faces"]
    at.button(key="compute_interference").click().run()
    (helper,) = store.runs(kinds=("analysis",))
    assert started == [helper.spec] and not at.exception
    tables = {
        "interference": table_of("interference", [(0, "w", 3.5, 0.4), (1, "w", 2.5, 0.5)]),
        "over_accumulation": table_of("over_accumulation", [("sum", "digits", 0, 1, 1.5), ("sum", "faces", 0, 1, 0.5)]),
    }
    write_text(
        result_file(store.run_dir(helper.run_id)),
        json.dumps({panel: content_of(table) for panel, table in tables.items()}),
    )
    store.set_state(helper.run_id, "done")
    at = page("checkpoints", zoo=str(zoo))
    assert "the highest STI, 3.5, is in block 0, w." in text(at) and "holds between 0.50 and 1.50 times" in text(at)
    assert all(any(alt.startswith(panel) for alt in figures(at)) for panel in ("Interference of", "How often Sum of"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("name: [", "not YAML"),
        ("name: mine\ntasks: []\n", "`base` is missing"),
        ("name: mine\nbase: {model: nowhere}\ntasks: [{name: a, model: digits}]\n", "does not exist"),
    ],
)
@pytest.mark.parametrize("name", ["checkpoints", "construct"])
def test_a_bad_zoo_file_is_one_sentence(name, content, says, zoo):
    zoo.write_text(content)
    at = page(name, zoo=str(zoo))
    assert len(at.error) == 1 and says in at.error[0].value.replace("\\", "")


@pytest.mark.parametrize("name", ["checkpoints", "construct"])
def test_a_zoo_that_is_not_there_or_not_allowed_is_one_sentence(name, zoo, tmp_path):
    assert "neither a zoo file" in page(name, zoo=str(tmp_path / "none.yaml")).error[0].value
    assert "outside the folders" in page(name, zoo="/etc/hostname").error[0].value


def test_checkpoints_that_do_not_fit_are_one_sentence(zoo, monkeypatch):
    monkeypatch.setattr(survey, "answer", refuse("digits: tensor x has shape [3] but [4] in the base: …"))
    at = page("checkpoints", zoo=str(zoo))
    assert len(at.error) == 1 and "has shape" in at.error[0].value


# construct ---------------------------------------------------------------------------------------------------------------


def test_construct_starts_what_the_form_says(zoo, started):
    at = page("construct", zoo=str(zoo))
    at.number_input(key="steps").set_value(7)
    at.selectbox(key="init").set_value("gauss").run()
    at.multiselect(key="with_methods").set_value(["tsv"]).run()
    press(at, "start")
    (spec,) = started
    assert (spec.construction.steps, spec.construction.init, spec.construction.anchors) == (7, "gauss", 32)
    assert spec.methods == ("pretrained", "individual", "tsv") and spec.tasks == ("digits", "faces")


def test_a_preset_fills_the_form(zoo, started):
    at = page("construct", zoo=str(zoo))
    at.button_group(key="preset").set_value("paper").run()
    assert at.number_input(key="steps").value == 1200 and at.selectbox(key="optimizer").value == "adamw"
    press(at, "start")
    assert started[0].construction.preset == "paper" and started[0].construction.steps == 1200


def test_a_link_with_a_preset_fills_the_form_and_keeps_what_it_names(zoo):
    at = page("construct", zoo=str(zoo), preset="paper", anchors="16")
    assert at.number_input(key="steps").value == 1200 and at.number_input(key="anchors").value == 16


def test_the_form_has_every_setting_and_its_command(zoo):
    at = page("construct", zoo=str(zoo), steps="9")
    keys = {widget.key for widget in [*at.number_input, *at.selectbox]}
    assert set(FAST_CONSTRUCT.model_fields_set | {"tokens", "distance", "init"}) - {"preset"} <= keys
    assert "--steps 9" in text(at) and "compare" in text(at)


@pytest.mark.parametrize(("blocks", "says"), [("one", "not a block number"), ("-1", "not a block number")])
def test_blocks_that_are_none_are_one_sentence(zoo, blocks, says):
    at = page("construct", zoo=str(zoo), with_blocks=blocks)
    assert len(at.error) == 1 and says in at.error[0].value


def test_a_block_that_the_model_lacks_is_one_sentence_and_starts_nothing(zoo, started, monkeypatch):
    monkeypatch.setattr(survey, "_survey", lambda *_: {"blocks": [{}, {}]})
    at = page("construct", zoo=str(zoo), with_blocks="0,9")
    assert "there is no block 9" in at.error[0].value.lower() and at.button(key="start").disabled and not started


def test_a_second_start_of_the_same_is_one_sentence(zoo, monkeypatch):
    monkeypatch.setattr(jobs, "_spawn", lambda *_: None)
    press(page("construct", zoo=str(zoo)), "start")
    at = press(page("construct", zoo=str(zoo)), "start")
    assert "does exactly this already" in at.error[0].value
    assert len(Store().runs()) == 1


def test_a_busy_device_tells_the_place_in_the_queue(zoo, store):
    at_work(store, zoo)
    assert "queue" in text(page("construct", zoo=str(zoo), device="cpu"))


# watch -------------------------------------------------------------------------------------------------------------------


def test_watch_shows_every_part_of_a_running_run(store, zoo):
    run_id = at_work(store, zoo)
    at = page("watch", run=run_id)
    drawn = figures(at)
    starts = ("Map of construction", "Angle loss", "Subspace similarity", "Singular values", "Memory")
    assert all(any(alt.startswith(start) for alt in drawn) for start in starts)
    assert {figure["layout"]["uirevision"] for figure in drawn.values()} <= {run_id, f"{run_id} digits 1"}
    told = status(at)
    assert (told["state"], told["colour"]) == ("running", "blue") and 0 < told["share"] < 1
    assert told["line"].startswith("constructing anchors 38 % · about ") and " left in all · " in told["line"]


def test_watch_says_that_the_step_is_compiled_while_it_is(store, zoo):
    run_id = store.create_run(make_spec(zoo, construct=FAST_CONSTRUCT, device="cpu"))
    store.claim_process(run_id, os.getpid(), start_time(os.getpid()))
    store.set_state(run_id, "running")
    store.plan_phases(run_id, {"start": 5.0, "compile": 41.0, "construct": 60.0}, time.time())
    store.update_phase(run_id, "start", began=time.time())
    assert status(page("watch", run=run_id))["line"].startswith("starting · about 1 min ")
    store.update_phase(run_id, "start", seconds=4.0, began=None, ended=time.time())
    store.update_phase(run_id, "compile", began=time.time())
    told = status(page("watch", run=run_id))["line"]
    assert told.startswith("compiling the step, once per machine, about 41 s · about 1 min ")


def test_watch_takes_the_active_run_when_none_is_named_and_pins_it(store, zoo):
    run_id = at_work(store, zoo)
    store.create_run(make_spec(zoo, methods=("ta",), device="cpu"))
    at = page("watch")
    assert at.selectbox(key="picked_run").value == run_id, "the one at work, not the newer one that waits"
    assert at.query_params["run"] == run_id


def test_stop_asks_the_run_to_stop_and_says_so(store, zoo):
    run_id = at_work(store, zoo)
    at = press(page("watch", run=run_id), "stop")
    assert store.run(run_id).state == "stopping"
    assert "stopping for" in status(at)["line"] and at.button(key="stop").disabled


@pytest.mark.parametrize("state", ["cancelled", "crashed", "failed"])
def test_a_run_that_ended_early_can_be_resumed(state, store, zoo, monkeypatch):
    run_id = at_work(store, zoo)
    store.set_state(run_id, state, "it ended; resume continues.")
    resumed = []
    monkeypatch.setattr(jobs, "resume", lambda store, run: resumed.append(run))
    press(page("watch", run=run_id), "resume")
    assert resumed == [run_id]


def test_watch_has_the_verdict_once_a_run_has_ended(store, zoo):
    run_id = at_work(store, zoo)
    assert "one unit converged" not in text(page("watch", run=run_id))
    store.set_state(run_id, "cancelled")
    assert "The one unit converged; 3 units did not finish." in text(page("watch", run=run_id))


def test_a_finished_run_leads_on_to_its_scores(store, zoo):
    at = page("watch", run=finished(store, zoo))
    assert not [button for button in at.button if button.key == "stop"]
    at.segmented_control(key="view").set_value("Scores").run()
    assert not at.exception and at.dataframe


def test_a_queued_run_has_its_place(store, zoo):
    run_id = store.create_run(make_spec(zoo, methods=("ta",), device="cpu"))
    assert "number 1 in the queue" in status(page("watch", run=run_id))["line"]


def test_a_choice_without_curves_says_so(store, zoo):
    at = page("watch", run=at_work(store, zoo), tasks="faces")
    assert "No unit of this choice has begun" in text(at)

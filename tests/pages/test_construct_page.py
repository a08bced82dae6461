"""Construct: every method's settings and the adaptation's are on the form, in the sentence, the command and the spec."""

import time
from pathlib import Path

import pytest
import yaml
from streamlit.testing.v1 import AppTest

from fda.home import REPO
from fda.jobs import lifecycle as jobs
from fda.merging.registry import METHODS
from fda.requests.hyperparameters import read_by
from fda.requests.runs import MAIN_METHODS
from fda.settings import BEST_ADAPT, PAPER_ADAPT, AdaptSettings
from fda.store.spec import RunSpec
from fda.store.store import Store
from fda.zoos.zoo import own_folder


def write_zoo(folder: Path, name: str = "mine", **fields: object) -> Path:
    """A zoo file whose checkpoints are named but empty: all that the page reads."""
    tasks = []
    for task in ("digits", "faces", "letters"):
        (folder / task).mkdir(exist_ok=True)
        (folder / f"{task}.safetensors").touch()
        data = {"path": task, "split": "test", "train_split": "train", "validation_split": "validation"}
        tasks.append({"name": task, "model": task, "head": f"{task}.safetensors", "data": data})
    (folder / "base").mkdir(exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"name": name, "base": {"model": "base"}, "tasks": tasks} | fields))
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("FDA_MODEL_ROOTS", str(tmp_path))
    return tmp_path


@pytest.fixture
def started(monkeypatch) -> list[RunSpec]:
    """The specs that the page starts; no worker runs."""
    specs: list[RunSpec] = []

    def start(store: Store, spec: RunSpec) -> str:
        specs.append(spec)
        return store.create_run(spec)

    monkeypatch.setattr(jobs, "start", start)
    return specs


def page(zoo: Path, **query: str) -> AppTest:
    """The page as a browser that came through the frame sees it."""
    at = AppTest.from_file(str(REPO / "pages" / "frame.py"), default_timeout=60)
    for key, value in ({"zoo": str(zoo)} | query).items():
        at.query_params[key] = value
    at.switch_page("construct.py").run()
    assert not at.exception, at.exception
    return at


def press(at: AppTest, key: str) -> AppTest:
    at.button(key=key).click().run()
    assert not at.exception, at.exception
    return at


def keys(at: AppTest) -> set[str]:
    return {widget.key for widget in [*at.number_input, *at.selectbox, *at.text_input]}


def sentence(at: AppTest) -> str:
    return next(caption.value for caption in at.caption if "all blocks" in caption.value).replace("\\", "")


def test_each_chosen_method_has_a_field_for_all_it_reads(folder):
    at = page(write_zoo(folder))
    assert {key for key in keys(at) if key.partition(".")[0] in METHODS} == {"ta.scale", "ta.weights", "tsv.scale"}
    at.multiselect(key="with_methods").set_value(["della", "fda:wudi", "average"]).run()
    shown = {key for key in keys(at) if key.partition(".")[0] in METHODS}
    assert shown == {"della.density", "della.epsilon", "della.scale", "della.seed", "wudi.lr", "wudi.steps"}
    field = at.number_input(key="wudi.steps")
    assert field.value == 300 and field.min == 0 and "Source: 300 in Cheng et al. 2025" in field.help


def test_modified_methods_and_weights_of_tasks_are_in_the_spec_and_the_command(folder, started):
    at = page(write_zoo(folder))
    at.session_state["with_methods"] = ["ta", "larv:tsv"]
    at.session_state["larv:tsv.spread"] = 0.25
    at.text_input(key="ta.weights").set_value("1,0,2").run()
    assert not at.exception, at.exception
    assert {"larv:tsv.scale", "larv:tsv.rank_power", "larv:tsv.spread"} <= keys(at)
    assert "--set ta.weights=1,0,2 --set larv:tsv.spread=0.25" in at.code[0].value
    press(at, "start")
    assert started[0].hyperparameters == {"ta": {"weights": "1,0,2"}, "larv:tsv": {"spread": 0.25}}
    at.session_state["with_methods"] = ["ta", "larv:tvs"]
    at.run()
    assert any("no merging method 'tvs' (did you mean tsv?)" in error.value.replace("\\", "") for error in at.error)


def test_settings_are_in_the_spec_the_sentence_and_the_command(folder, started):
    at = page(write_zoo(folder))
    at.number_input(key="ta.scale").set_value(0.4).run()
    at.number_input(key="adapt.weights_epochs").set_value(7).run()
    at.selectbox(key="adapt.distance").set_value("mse").run()
    assert "set by hand: ta.scale = 0.4, adapt.distance = mse, adapt.weights_epochs = 7" in sentence(at)
    assert "--set ta.scale=0.4 --adapt distance=mse --adapt weights_epochs=7" in at.code[0].value
    press(at, "start")
    assert started[0].hyperparameters == {"ta": {"scale": 0.4}}
    assert started[0].adaptation == AdaptSettings(distance="mse", weights_epochs=7)


def test_the_preset_best_fills_the_adaptation_and_is_in_the_link(folder, started):
    path = write_zoo(folder)
    at = page(path)
    at.segmented_control(key="adapt.preset").set_value("best").run()
    assert at.number_input(key="adapt.weights_lr").value == BEST_ADAPT["weights_lr"]
    at.number_input(key="adapt.batch").set_value(16).run()
    assert "adapted by preset best" in sentence(at) and "set by hand: adapt.batch = 16" in sentence(at)
    press(at, "start")
    assert started[0].adaptation == AdaptSettings(preset="best", batch=16)
    at = page(path, **{"adapt.preset": "best", "adapt.batch": "16"})
    assert at.selectbox(key="adapt.weights_rate").value == "relative" and at.number_input(key="adapt.batch").value == 16
    at.segmented_control(key="adapt.preset").set_value("zoo").run()
    assert "by hand" not in sentence(at) and "--adapt" not in at.code[0].value


def test_untouched_settings_are_nowhere(folder, started):
    at = page(write_zoo(folder))
    assert "by hand" not in sentence(at) and "--set" not in at.code[0].value and "--adapt" not in at.code[0].value
    press(at, "start")
    assert started[0].hyperparameters == {} and started[0].adaptation is None


def test_settings_in_the_link_are_on_the_form(folder):
    at = page(write_zoo(folder), **{"ta.scale": "0.4", "adapt.batch": "16", "sweep": "true"})
    assert at.number_input(key="ta.scale").value == 0.4 and at.number_input(key="adapt.batch").value == 16
    assert "ta:swept" in at.code[0].value and "ta.scale = 0.4, adapt.batch = 16" in sentence(at)


def test_the_forms_begin_with_the_values_of_the_zoos_family(folder):
    at = page(write_zoo(folder, family="roberta-large", adapt={"batch": 64}))
    usual = PAPER_ADAPT["roberta-large"].model_copy(update={"batch": 64})
    for name in AdaptSettings.model_fields:
        widget = at.selectbox if name in ("distance", "arithmetic", "weights_rate") else at.number_input
        assert widget(key=f"adapt.{name}").value == getattr(usual, name), name
    assert at.number_input(key="ta.scale").value == 0.2 and at.number_input(key="tokens").value == 5
    assert "by hand" not in sentence(at) and "differs" not in sentence(at)
    assert any("From the zoo file: batch." in caption.value for caption in at.caption)


def test_another_zoo_brings_its_own_values(folder):
    own_folder().mkdir(parents=True)
    write_zoo(own_folder(), "other", family="llama")
    at = page(write_zoo(folder))
    at.number_input(key="ta.scale").set_value(0.9).run()
    at.selectbox(key="zoo_choice").set_value("other").run()
    assert at.number_input(key="ta.scale").value == 0.5 and at.number_input(key="adapt.batch").value == 8192
    assert at.number_input(key="anchors").value == 4096
    assert "by hand" not in sentence(at) and "differs" not in sentence(at)


@pytest.mark.parametrize(("group", "count"), [("main", 8), ("data-free", None), ("all", None)])
def test_quick_choices_choose_methods(folder, group, count):
    at = press(page(write_zoo(folder)), f"use-{group}")
    chosen = at.multiselect(key="with_methods").value
    plain = {name for name, one in METHODS.items() if not one.swept and name != "slerp"}  # slerp is for two tasks
    free = {name for name in plain if METHODS[name].needs in ("nothing", "anchors")}
    assert set(chosen) == {"main": set(MAIN_METHODS), "data-free": free, "all": plain}[group]
    assert count is None or len(chosen) == count


def test_the_toggle_adds_swept_variants_and_takes_them_away(folder, started):
    at = page(write_zoo(folder))
    at.multiselect(key="with_methods").set_value(["ta", "wudi"]).run()
    at.toggle(key="sweep").set_value(True).run()
    assert "--methods pretrained,individual,ta,ta:swept,wudi" in at.code[0].value
    press(at, "start")
    assert started[0].methods == ("pretrained", "individual", "ta", "ta:swept", "wudi")
    at = page(write_zoo(folder))
    assert ":swept" not in at.code[0].value


def test_a_method_that_cannot_run_here_is_said_before_the_start(folder):
    at = page(write_zoo(folder))
    at.multiselect(key="with_methods").set_value(["ta", "slerp"]).run()
    assert any("merges exactly 2 tasks, not 3" in caption.value for caption in at.caption) and not at.error
    at.multiselect(key="with_methods").set_value(["slerp"]).run()
    assert len(at.error) == 1 and "merges exactly 2 tasks" in at.error[0].value


def test_adaptation_is_there_only_for_methods_that_adapt(folder):
    at = page(write_zoo(folder))
    at.multiselect(key="with_methods").set_value(["ta"]).run()
    assert not any(key.startswith("adapt.") for key in keys(at))


@pytest.mark.parametrize("installed", [True, False])
def test_the_engine_is_chosen_only_where_ray_is_installed(folder, started, monkeypatch, installed):
    monkeypatch.setattr("fda.requests.runs.find_spec", lambda name: object() if installed and name == "ray" else None)
    at = page(write_zoo(folder), engine="ray")
    assert ("engine" in keys(at)) == installed
    assert any("pip install 'fda[ray]'" in caption.value for caption in at.caption) != installed
    press(at, "start")
    assert started[-1].engine == ("ray" if installed else "local")


def test_all_methods_do_not_make_the_page_slow(folder):
    """A page run takes under 0.5 s with every method and variant; measured: 0.06 s."""
    at = press(page(write_zoo(folder)), "use-all")
    at.toggle(key="sweep").set_value(True).run()
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        at.run()
        seconds.append(time.perf_counter() - began)
    fields = sum(map(len, read_by(at.multiselect(key="with_methods").value).values()))
    assert fields > 30 and len([key for key in keys(at) if "." in key]) == fields + len(AdaptSettings.model_fields)
    assert min(seconds) < 0.5

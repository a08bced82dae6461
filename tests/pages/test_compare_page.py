"""The scores of a run on a real store: figures and table, filters and links, cited numbers, further methods, its pace."""

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from streamlit.testing.v1 import AppTest

from fda.home import REPO
from fda.jobs import lifecycle as jobs
from fda.merging.registry import METHODS
from fda.requests.runs import make_spec
from fda.settings import FAST_CONSTRUCT
from fda.store.predictions import save_predictions
from fda.store.records import MethodResult, Score
from fda.store.spec import RunSpec
from fda.store.store import Store
from fda.tasks.answers import Answers
from fda.ui import old_links
from fda.ui.run.more_methods import addable_methods, more_spec

TASKS = ("digits", "faces", "letters")
RATES = {"pretrained": 0.4, "individual": 0.9, "ta": 0.6, "ta:swept": 0.65, "tsv": 0.7, "regmean": 0.8, "fda:ta": 0.75}
ROWS = ["Pretrained", "Individual", "Task arithmetic", "Task arithmetic, swept", "TSV-M", "FDA (TA)", "RegMean"]
SAMPLES = 100
SWEEP = {
    "hyperparameter": "scale",
    "values": [0.1, 0.2],
    "average": [0.5, 0.6],
    "tasks": {task: [0.5, 0.6] for task in TASKS},
    "split": "validation",
}


@pytest.fixture
def write_zoo(tmp_path, monkeypatch) -> Callable[..., Path]:
    """Writes a zoo file whose checkpoints are named but empty: all that the page itself reads."""
    monkeypatch.setenv("FDA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FDA_MODEL_ROOTS", str(tmp_path))

    def write(names: tuple[str, ...] = TASKS, **fields: object) -> Path:
        tasks = []
        for name in names:
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / f"{name}.safetensors").touch()
            data = {"path": name, "split": "test", "train_split": "train", "validation_split": "validation"}
            tasks.append({"name": name, "model": name, "head": f"{name}.safetensors", "data": data})
        (tmp_path / "base").mkdir(exist_ok=True)
        path = tmp_path / "zoo.yaml"
        path.write_text(yaml.safe_dump({"name": "mine", "base": {"model": "base"}, "tasks": tasks} | fields))
        return path

    return write


@pytest.fixture
def zoo(write_zoo) -> Path:
    return write_zoo()


@pytest.fixture
def store(zoo) -> Store:
    return Store()


@pytest.fixture
def started(monkeypatch) -> list[RunSpec]:
    """The specs that the page starts; no worker runs."""
    specs: list[RunSpec] = []

    def start(store: Store, spec: RunSpec) -> str:
        specs.append(spec)
        return store.create_run(spec)

    monkeypatch.setattr(jobs, "start", start)
    return specs


def queued(store: Store, zoo: Path, **changes: object) -> str:
    fields = {"construct": FAST_CONSTRUCT, "methods": tuple(RATES), "device": "cpu"} | changes
    return store.create_run(make_spec(zoo, **fields))


def score(store: Store, run_id: str, rates: dict[str, float], *, samples: int = SAMPLES, seed: int = 0) -> None:
    """A row and kept predictions for each method: random answers that are right about as often as its rate says."""
    random = np.random.default_rng(seed)
    for method, rate in rates.items():
        right = {task: random.random(samples) < rate for task in store.run(run_id).spec.tasks}
        settings = (
            {"scale": 0.2, "sweep": SWEEP, "selection": "validation"}
            if method == "ta:swept"
            else {"selection": "fixed"}
        )
        settings |= {"inputs": "train"} if method == "regmean" else {}
        settings |= {"anchors_seconds": 50.0} if method.startswith("fda:") else {}
        scores = [Score(method, task, "test", "accuracy", float(own.mean()), samples) for task, own in right.items()]
        store.add_result(run_id, MethodResult(method, "done", settings, 1.0, 2**30, None), scores)
        answers = {task: Answers(np.where(own, 1, 0), np.ones(samples, int)) for task, own in right.items()}
        save_predictions(store.run_dir(run_id), method, answers)


@pytest.fixture
def run_id(store, zoo) -> str:
    """A finished run with every kind of method."""
    made = queued(store, zoo)
    score(store, made, RATES)
    store.set_state(made, "done")
    return made


def page(**query: str | list[str]) -> AppTest:
    """The page as a browser that came through the frame sees it."""
    at = AppTest.from_file(str(REPO / "pages" / "frame.py"), default_timeout=60)
    for key, value in old_links.query("compare", query).items():
        at.query_params[key] = value
    at.switch_page("run.py").run()
    assert not at.exception, at.exception
    return at


def figure(at: AppTest) -> dict:
    """The figure that is drawn, as plotly's JSON; there is one at a time."""
    found = []
    for element in at.get("bidi_component"):
        data = json.loads(element.proto.json) if element.proto.json else {}
        if "figure" in data:
            found.append(json.loads(data["figure"]))
    (one,) = found
    return one


def trace(at: AppTest, name: str) -> dict | None:
    """The first trace of this type or name."""
    return next((one for one in figure(at)["data"] if name in (one["type"], one.get("name"))), None)


def numbers(values: list | dict) -> np.ndarray:
    """What plotly's JSON holds as a list, or as bytes of a type."""
    if isinstance(values, dict):
        return np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"])
    return np.array(values)


def rows(at: AppTest) -> list[str]:
    return list(at.dataframe[0].value["method"])


def text(at: AppTest) -> str:
    parts = [*at.markdown, *at.caption, *at.error, *at.info, *at.title, *at.header, *at.code]
    return "\n".join(str(part.value) for part in parts)


# what it shows -----------------------------------------------------------------------------------------------------------


def test_bars_first_then_the_table_then_nothing_in_the_way(run_id):
    at = page(run=run_id)
    bars = trace(at, "bar")
    assert set(bars["y"]) == {*ROWS} and np.all(numbers(bars["error_x"]["array"]) > 1)
    assert rows(at) == ROWS
    assert "sweep" not in at.dataframe[0].value.to_string().lower().replace("swept", "")
    assert not at.error


@pytest.mark.parametrize(
    ("view", "title"),
    [
        ("Bars", "Average accuracy"),
        ("Gains", "Accuracy: FDA (TA) beside TSV-M"),
        ("Differences", "Accuracy above TSV-M"),
        ("Radar", "Accuracy on each task"),
        ("By task", "Accuracy by method and task"),
        ("Cost", "Accuracy against seconds"),
        ("Sweep", "Average accuracy on the validation split"),
    ],
)
def test_every_view_is_a_link(run_id, view, title):
    assert figure(page(run=run_id, view=view))["layout"]["title"]["text"] == title


def test_a_link_carries_everything_that_was_chosen(run_id):
    chosen = {"methods": ["TSV-M", "FDA (TA)"], "baseline": "TSV-M", "score": "faces", "scale": "normalised"}
    at = page(run=run_id, view="Cost", cost="peak memory", **chosen)
    assert rows(at) == ["Pretrained", "Individual", "TSV-M", "FDA (TA)"]
    assert figure(at)["layout"]["title"]["text"] == "Normalised accuracy on faces against peak memory"
    at = page(run=run_id, view="Differences", **chosen)
    assert figure(at)["layout"]["title"]["text"] == "Normalised accuracy above TSV-M"
    assert "FDA (TA)" in trace(at, "heatmap")["y"] and "Task arithmetic" not in trace(at, "heatmap")["y"]


def test_filters_by_what_methods_read_leave_the_references(run_id):
    at = page(run=run_id, needs="Reads real inputs")
    assert rows(at) == ["Pretrained", "Individual", "RegMean"] and "3 of 7 methods shown" in text(at)
    at = page(run=run_id, needs=["On anchors", "Reads real inputs"])
    assert rows(at) == ["Pretrained", "Individual", "FDA (TA)", "RegMean"]
    assert set(trace(at, "bar")["marker"]["pattern"]["shape"]) == {"", "/", "x"}


def test_one_task_has_its_own_bars_and_interval(run_id, store):
    at = page(run=run_id, score="letters")
    bars = trace(at, "bar")
    truth = {one.method: one.value for one in store.results(run_id)[1] if one.task == "letters"}
    assert numbers(bars["x"])[bars["y"].index("TSV-M")] == pytest.approx(100 * truth["tsv"])
    assert trace(at, "digits") is None and "letters" in figure(at)["layout"]["title"]["text"]


def test_controls_change_the_figure(run_id):
    at = page(run=run_id)
    at.selectbox(key="score").set_value("faces").run()
    at.button_group(key="scale").set_value("normalised").run()
    assert figure(at)["layout"]["title"]["text"] == "Normalised accuracy on faces"
    at.button_group(key="methods").set_value(["tsv"]).run()
    assert rows(at) == ["Pretrained", "Individual", "TSV-M"] and not at.exception


def test_a_baseline_that_is_none_is_a_notice_and_another_is_taken(run_id):
    at = page(run=run_id, baseline="nothing", view="Differences")
    assert "no result of a method 'nothing'" in at.error[0].value
    assert "TSV-M" in figure(at)["layout"]["title"]["text"]


def test_a_run_without_swept_methods_has_no_sweep(store, zoo):
    made = queued(store, zoo, methods=("ta",))
    score(store, made, {name: RATES[name] for name in ("pretrained", "individual", "ta")})
    assert [tab.label for tab in page(run=made).tabs] == ["Bars", "Gains", "Differences", "Radar", "By task", "Cost"]


def test_two_tasks_have_a_sentence_for_a_radar(store, zoo):
    made = queued(store, zoo, tasks=TASKS[:2])
    score(store, made, RATES)
    assert "at least 3 tasks" in text(page(run=made, view="Radar"))


def test_a_run_that_kept_no_predictions_says_why_there_are_no_intervals(store, zoo):
    made = queued(store, zoo, methods=("ta",))
    for method in ("pretrained", "individual", "ta"):
        scores = [Score(method, task, "test", "accuracy", 0.5, 10) for task in TASKS]
        store.add_result(made, MethodResult(method, "done", {"selection": "fixed"}, 1.0, 2**20, None), scores)
    at = page(run=made)
    assert "kept no predictions" in text(at) and rows(at) == ROWS[:3]


def test_failures_are_one_sentence_each(store, zoo):
    made = queued(store, zoo)
    score(store, made, {"pretrained": 0.4, "ta": 0.6})
    store.add_result(made, MethodResult("fda:ta", "failed", {}, None, None, "the anchors of [digits] are missing"))
    at = page(run=made)
    assert (
        at.error[0].value.startswith("FDA (TA) failed")
        and "the anchors of \\[digits\\] are missing" in at.error[0].value
    )
    assert at.button_group(key="scale").disabled, "nothing to divide by yet"


def test_before_the_first_score_it_says_what_comes(store, zoo):
    made = queued(store, zoo)
    assert "No method has been scored yet" in text(page(run=made))
    store.set_state(made, "cancelled")
    assert "ended before any method was scored" in text(page(run=made))


def test_a_run_without_methods_says_why(store, zoo, run_id):
    made = queued(store, zoo, methods=())
    assert "compares no methods" in text(page(run=made))


@pytest.mark.parametrize("state", ["done", "cancelled"])
def test_the_verdict_stands_above_the_figures_once_a_run_has_ended(store, zoo, state):
    made = queued(store, zoo)
    score(store, made, RATES)
    assert "FDA (TA) reaches" not in text(page(run=made)), "other methods may follow"
    store.set_state(made, state)
    (verdict,) = [one.value for one in page(run=made).markdown if "FDA (TA) reaches" in one.value]
    assert "above the best method without data" in verdict or "no clear difference" in verdict


def test_names_of_tasks_are_no_markup_in_the_verdict(write_zoo):
    path, store = write_zoo(names=("a_b", "c")), Store()
    made = queued(store, path)
    score(store, made, RATES | {"fda:ta": 0.5})
    store.set_state(made, "done")
    assert "a\\_b (−" in text(page(run=made))


# cited -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def citing(write_zoo) -> Callable[..., str]:
    """A finished run of a zoo that names a key of assets/cited.yaml."""

    def make(key: str, **changes: object) -> str:
        path, store = write_zoo(cited=key), Store()
        made = queued(store, path, **changes)
        score(store, made, RATES)
        store.set_state(made, "done")
        return made

    return make


def test_cited_numbers_have_a_column_hollow_markers_and_a_sentence(citing):
    at = page(run=citing("fda-vit-b-16"))
    table = at.dataframe[0].value.set_index("method")
    assert table.loc["TSV-M", "cited %"] == pytest.approx(87.38) and np.isnan(table.loc["RegMean", "cited %"])
    hollow = trace(at, "cited average")
    assert hollow["x"][hollow["y"].index("FDA (TA)")] == pytest.approx(87.79) and "open" in hollow["marker"]["symbol"]
    assert "not measured here" in text(at) and "arxiv.org/abs/2510.21223" in text(at)


def test_cited_numbers_are_not_set_beside_fewer_tasks(citing):
    at = page(run=citing("fda-vit-b-16", tasks=TASKS[:2]))
    assert "cited %" not in at.dataframe[0].value and trace(at, "cited average") is None
    assert "this run has only some" in text(at)


def test_a_key_that_is_none_is_one_sentence_and_the_page_goes_on(citing):
    at = page(run=citing("fda-vit-b16"))
    assert len(at.error) == 1 and "did you mean fda-vit-b-16" in at.error[0].value
    assert rows(at) == ROWS


# further methods ---------------------------------------------------------------------------------------------------------


def test_further_methods_start_on_the_same_anchors(run_id, started, store):
    at = page(run=run_id)
    at.multiselect(key="more_methods").set_value(["wudi", "fda:tsv"]).run()
    at.button(key="more_start").click().run()
    assert not at.exception, at.exception
    (spec,) = started
    old = store.run(run_id).spec
    assert spec.methods == ("pretrained", "individual", "wudi", "fda:tsv") and spec.construction is None
    assert spec.anchors_run == run_id and (spec.tasks, spec.device, spec.seed) == (old.tasks, old.device, old.seed)
    assert at.selectbox(key="picked_run").value == store.runs()[0].run_id, "and one sees it at work"


def test_the_methods_that_are_not_there_and_could_run_are_offered(run_id, store):
    offered = addable_methods(store.run(run_id))
    assert not set(offered) & set(RATES)
    assert set(METHODS) - set(offered) - set(RATES) == {"slerp"}, "it merges two tasks, not three"


def test_methods_that_read_anchors_are_not_offered_where_there_are_none(store, zoo):
    made = queued(store, zoo, construct=None, methods=("ta",))
    assert not [name for name in addable_methods(store.run(made)) if METHODS[name].needs == "anchors"]


def test_further_methods_keep_what_was_set_and_may_take_the_old_along(run_id, store, zoo):
    spec = store.run(run_id).spec.model_copy(update={"hyperparameters": {"tsv": {"scale": 0.9}, "ta": {"scale": 0.4}}})
    run = store.run(store.create_run(spec))
    added = more_spec(run, ["fda:tsv"], again=False, roots=[zoo.parent])
    assert added.methods == ("pretrained", "individual", "fda:tsv") and added.hyperparameters == {"tsv": {"scale": 0.9}}
    both = more_spec(run, ["wudi"], again=True, roots=[zoo.parent])
    assert both.methods == (*run.spec.methods, "wudi") and both.hyperparameters == spec.hyperparameters


def test_nothing_is_offered_while_a_run_goes_on_or_when_its_zoo_is_gone(run_id, store, zoo):
    keys = {widget.key for widget in page(run=run_id).multiselect}
    assert "more_methods" in keys
    zoo.unlink()
    assert "more_methods" not in {widget.key for widget in page(run=run_id).multiselect}


def test_what_cannot_start_is_one_sentence(run_id, zoo):
    at = page(run=run_id)
    at.multiselect(key="more_methods").set_value(["wudi"]).run()
    zoo.write_text("name: [")
    at.button(key="more_start").click().run()
    assert len(at.error) == 1 and "is not YAML" in at.error[0].value and not at.exception


# pace --------------------------------------------------------------------------------------------------------------------


def test_it_is_quick_with_thirty_methods_and_five_tasks(write_zoo):
    """A page run takes about 0.05 s; a wide limit, for busy machines."""
    path = write_zoo(names=("a", "b", "c", "d", "e"))
    store, methods = Store(), list(METHODS)[:30]
    made = queued(store, path, methods=tuple(methods))
    score(store, made, {name: 0.5 + index / 100 for index, name in enumerate(methods)}, samples=500)
    at = page(run=made)
    took = []
    for _ in range(3):
        began = time.perf_counter()
        at.run()
        took.append(time.perf_counter() - began)
    assert not at.exception and len(rows(at)) == 30
    assert min(took) < 0.5, took

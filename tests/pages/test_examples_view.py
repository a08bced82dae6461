"""The view Examples on a stored run: what it opens with, its choices and their links, empty states, older and damaged files."""

import json
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from fda.jobs import lifecycle as jobs
from fda.requests.helper_runs import examples_spec
from fda.store.examples import Samples, samples_file, save_samples
from fda.store.predictions import save_predictions
from fda.store.records import MethodResult, Score
from fda.store.store import Store
from fda.tasks.answers import Answers, Top
from fda.ui.run.examples import PAGE
from tests.support.runs import spec

COUNT = 60
LABEL = np.arange(COUNT, dtype=np.int32) % 3
NAMES = ("[cat](x)", "dog", "bird")
RIGHT = {"pretrained": 0, "ta": 20, "tsv": 30, "fda:tsv": 57}  # the last so many answers are right


@pytest.fixture
def store(fda_home: Path) -> Store:
    return Store(fda_home)


def answers(right: int, metric: str = "accuracy", *, sure: bool = True) -> Answers:
    wrong = np.arange(COUNT) < COUNT - right
    predicted = ((LABEL + wrong) % 3).astype(np.int32)
    classes = np.stack([predicted, (predicted + 1) % 3, (predicted + 2) % 3], axis=1)
    top = Top(classes, np.tile(np.float32([0.625, 0.25, 0.125]), (COUNT, 1))) if sure else None
    return Answers(predicted, LABEL, metric, top=top)


def scored(store: Store, methods: dict[str, int], *, metric: str = "accuracy", sure: bool = True) -> str:
    run_id = store.create_run(spec().model_copy(update={"methods": tuple(RIGHT)}))
    for method, right in methods.items():
        given = answers(right, metric, sure=sure)
        save_predictions(store.run_dir(run_id), method, {"red": given})
        result = MethodResult(method, "done", {"selection": "fixed"}, 1.0, None, None)
        store.add_result(run_id, result, [Score(method, "red", "test", metric, given.accuracy, COUNT)])
    return run_id


@pytest.fixture
def run_id(store: Store) -> str:
    """A finished run with texts of 50 samples."""
    made = scored(store, RIGHT)
    texts = {index: f"text <b>{index}</b>".encode() for index in range(50)}
    save_samples(samples_file(store.run_dir(made), "red"), Samples("text", texts, NAMES))
    store.set_state(made, "done")
    return made


def view(run_id: str, **query: str) -> AppTest:
    def script(run_id: str) -> None:
        from fda.ui.run.examples import examples_view
        from fda.ui.runs import store

        examples_view(store(), store().run(run_id))

    at = AppTest.from_function(script, args=(run_id,), default_timeout=60)
    for key, value in query.items():
        at.query_params[key] = value
    at.run()
    assert not at.exception, at.exception
    return at


def shown(at: AppTest) -> list[str]:
    """The cards."""
    (gallery,) = [part.proto.body for part in at.get("html") if "<ul" in part.proto.body]
    return gallery.split("<li>")[1:]


def said(at: AppTest) -> str:
    """All texts, without the backslashes that keep names from being markup."""
    return "\n".join(str(part.value).replace("\\", "") for part in [*at.markdown, *at.caption, *at.error, *at.info])


def titles(at: AppTest) -> list[str]:
    figures = [json.loads(part.proto.json).get("figure") for part in at.get("bidi_component") if part.proto.json]
    return [json.loads(figure)["layout"]["title"]["text"] for figure in figures if figure]


def test_it_opens_with_what_fda_mends_of_the_best_method_without_data(run_id):
    at = view(run_id)
    assert (
        "From TSV-M to FDA (TSV), 27 of 60 samples became right and 0 became wrong; 30 are right and 3 wrong"
        in said(at)
    )
    assert len(shown(at)) == PAGE and "text &lt;b&gt;3&lt;/b&gt;" in shown(at)[0] and "62 %" in shown(at)[0]
    assert titles(at) == ["TSV-M on red", "FDA (TSV) on red"] and not at.error
    assert at.selectbox(key="ex_class").options == [*NAMES]


def test_a_link_carries_every_choice(run_id):
    chosen = {"ex_before": "FDA (TSV)", "ex_after": "Task arithmetic", "ex_show": "became wrong", "ex_class": "dog"}
    at = view(run_id, **chosen, ex_page="1")
    assert "From FDA (TSV) to Task arithmetic, 0 of 60 samples became right and 37 became wrong" in said(at)
    assert all("true: <b>dog</b>" in card for card in shown(at)) and len(shown(at)) == 12
    assert titles(at) == ["FDA (TSV) on red", "Task arithmetic on red"]


def test_the_answer_of_one_method_chooses_samples_too(run_id):
    at = view(run_id, ex_show="all", ex_class="dog", ex_said_before="bird")
    assert len(shown(at)) == 10 and all("true: <b>dog</b>" in card and "✗</span> bird" in card for card in shown(at))
    at.selectbox(key="ex_said_after").set_value(2).run()
    assert len(shown(at)) == 1 and not at.exception


def test_pages_follow_the_choice_and_kept_samples_come_first(run_id):
    at = view(run_id, ex_show="all", ex_page="3")
    assert len(shown(at)) == COUNT - 2 * PAGE and "not kept with the run" in shown(at)[-1]
    assert "50 of these 60 samples are kept with the run and come first" in said(at)
    at.selectbox(key="ex_show").set_value("both wrong").run()
    assert not at.exception and len(shown(at)) == 3
    assert len(shown(view(run_id, ex_show="both wrong", ex_page="9"))) == 3, "a link to a page that is not there"
    at.selectbox(key="ex_show").set_value("became wrong").run()
    assert "No sample is like this" in said(at) and titles(at), "the matrices stay"


def test_what_is_no_choice_is_as_if_it_were_not_said(run_id):
    at = view(run_id, ex_task="<b>", ex_before="nothing", ex_show="wrong", ex_class="7", ex_page="-1")
    assert "From TSV-M to FDA (TSV)" in said(at) and len(shown(at)) == PAGE


@pytest.mark.parametrize("state", ["running", "done"])
def test_a_run_of_before_shows_its_flips_and_says_what_it_lacks(store, state, monkeypatch):
    made = scored(store, RIGHT, sure=False)
    store.set_state(made, state)
    at = view(made)
    assert "Probabilities of TSV-M and FDA (TSV) are not stored with this run: an older version scored it." in said(at)
    assert len(shown(at)) == PAGE and "true: <b>class 0</b>" in shown(at)[0] and len(titles(at)) == 2
    if state == "running":
        assert "once all methods are scored" in said(at) and not at.button
        return
    monkeypatch.setattr(jobs, "_spawn", lambda *_: None)
    at.button(key="ex_read").click().run()
    assert not at.exception and "Reading the samples" in said(at)
    (helper,) = store.runs(kinds=("examples",))
    assert helper.spec == examples_spec(store.run(made))
    store.set_state(helper.run_id, "failed", "the data are gone.")
    again = view(made)
    assert "The samples could not be read: the data are gone." in said(again) and again.button(key="ex_read")


def test_damaged_samples_are_one_sentence_and_the_rest_goes_on(run_id, store):
    samples_file(store.run_dir(run_id), "red").write_bytes(b"{}")
    at = view(run_id)
    assert "cannot be read: delete the file" in said(at) and len(shown(at)) == PAGE and len(titles(at)) == 2


def test_fewer_than_two_methods_and_answers_that_are_numbers_are_a_sentence(store):
    alone = scored(store, {"ta": 20})
    assert "as soon as two are scored" in said(view(alone))
    store.set_state(alone, "done")
    assert "fewer than two are stored" in said(view(alone))
    numbers = scored(store, RIGHT, metric="pearson", sure=False)
    assert "scored by Pearson's correlation" in said(view(numbers))

"""The table of runs on Home: what it shows, filters and groups, and what can be done with the selected runs."""

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.typing import DataframeState

from fda.requests.runs import construct_settings, make_spec
from fda.store.records import MethodResult, Score, UnitKey
from fda.store.store import Store
from fda.ui import survey
from tests.pages.test_pages import page, press, started, store, text, zoo  # noqa: F401  fixtures


def made(store: Store, zoo, *, seed: int = 0, name: str = "", tags: tuple[str, ...] = (), state: str = "done") -> str:  # noqa: F811
    """A run of the tiny zoo that has ended, with a loss and scores that grow with the seed."""
    construct = construct_settings("fast", seed=seed, steps=300 if seed else None)
    spec = make_spec(zoo, construct=construct, methods=("ta", "fda:ta"), device="cpu", seed=seed)
    run_id = store.create_run(spec)
    if state == "queued":
        return run_id
    key = UnitKey("construct", "digits", 0)
    store.add_units(run_id, [(key, 5)])
    store.update_unit(run_id, key, state="done", step=5, loss=0.1 * (seed + 1))
    for method, value in (("ta", 0.6), ("individual", 0.9), ("fda:ta", 0.7 + 0.1 * seed)):
        scores = [Score(method, task, "test", "accuracy", value, 50) for task in ("digits", "faces")]
        store.add_result(run_id, MethodResult(method, "done", {}, 1.0, 1, None), scores)
    store.describe(run_id, name=name, add_tags=tags)
    store.set_state(run_id, state)
    return run_id


def frame(at: AppTest):
    return at.dataframe[-1].value


def select(at: AppTest, shown: list[str], *rows: int) -> AppTest:
    """Select rows of the table, which shows these runs."""
    assert list(frame(at)["id"]) == shown
    at.session_state["runs-0"] = DataframeState({"selection": {"rows": list(rows), "columns": [], "cells": []}})
    at.run()
    assert not at.exception, at.exception
    return at


def test_the_table_tells_runs_apart(store, zoo):  # noqa: F811
    first, second = made(store, zoo, name="short *steps*", tags=("best",)), made(store, zoo, seed=1)
    shown = frame(page("home"))
    assert list(shown["run"]) == [second, "short *steps*"] and list(shown["id"]) == [second, first]
    assert list(shown["differs"]) == ["steps 300, seed 1", ""]
    assert [list(tags) for tags in shown["tags"]] == [[], ["best"]] and list(shown["state"]) == ["done", "done"]
    assert shown["loss"].tolist() == pytest.approx([0.2, 0.1])
    assert shown["FDA"].tolist() == pytest.approx([80, 70])
    assert shown["FDA − best"].tolist() == pytest.approx([20, 10])
    assert shown["individual"].tolist() == pytest.approx([90, 90])
    assert all(shown["disk"] > 0)


def test_search_state_tag_and_group_narrow_and_order_the_table(store, zoo):  # noqa: F811
    first, second = made(store, zoo, name="short", tags=("best",)), made(store, zoo, seed=1, state="failed")
    at = page("home")
    at.text_input(key="search").set_value("short").run()
    assert list(frame(at)["id"]) == [first] and "1 of 2 runs" in text(at)
    at.text_input(key="search").set_value("").run()
    at.multiselect(key="state").set_value(["failed"]).run()
    assert list(frame(at)["id"]) == [second]
    assert list(frame(page("home", tag="best"))["id"]) == [first], "a link filters too"
    at = page("home", group="seed")
    groups, runs = at.dataframe[0].value, frame(at)
    assert list(groups["seed"]) == ["0", "1"] and list(groups["runs"]) == [1, 1]
    assert list(runs["group"]) == ["0", "1"] and list(runs["id"]) == [first, second]
    assert "No run matches" in text(page("home", search="nowhere"))


def test_a_deletion_names_the_runs_and_keeps_them_while_the_list_changes(store, zoo):  # noqa: F811
    first, second = made(store, zoo, name="short"), made(store, zoo, seed=1)
    at = select(page("home"), [second, first], 1)
    press(at, "delete-selected")
    assert "**short**" in text(at) and first in text(at)
    third = made(store, zoo, seed=2)  # a new row on top while the dialog is open
    at.run()
    assert "**short**" in text(at)
    press(at, "sure-delete")
    assert [run.run_id for run in store.runs()] == [third, second]
    assert "Deleted 1 run: short" in text(at)
    assert store.run_dir(first).is_dir()


def test_undo_brings_the_runs_back(store, zoo):  # noqa: F811
    first, second = made(store, zoo, name="short"), made(store, zoo, seed=1)
    at = select(page("home"), [second, first], 0, 1)
    press(press(at, "delete-selected"), "sure-delete")
    assert store.runs() == [] and "Deleted 2 runs:" in text(at)
    press(at, "undo")
    assert [run.run_id for run in store.runs()] == [second, first] and store.run(first).name == "short"
    assert "Deleted" not in text(at) and list(frame(at)["id"]) == [second, first]


def test_undo_is_over_after_ten_seconds(store, zoo, monkeypatch):  # noqa: F811
    first, second = made(store, zoo), made(store, zoo, seed=1)
    at = press(press(select(page("home"), [second, first], 0), "delete-selected"), "sure-delete")
    monkeypatch.setattr("fda.ui.runs_table.UNDO_SHOWN", 0.0)
    at.run()
    assert not at.exception and not [button for button in at.button if button.key == "undo"]


def test_keep_closes_the_dialog(store, zoo):  # noqa: F811
    run_id = made(store, zoo)
    at = press(press(select(page("home"), [run_id], 0), "delete-selected"), "keep")
    assert [run.run_id for run in store.runs()] == [run_id]
    assert not [button for button in at.button if button.key == "sure-delete"]


def test_name_note_and_tags_are_edited(store, zoo):  # noqa: F811
    run_id = made(store, zoo, tags=("old", "best"))
    at = press(select(page("home"), [run_id], 0), "edit-selected")
    at.text_input(key=f"name-{run_id}").set_value("short")
    at.text_area(key=f"note-{run_id}").set_value("half the steps")
    at.text_input(key=f"tags-{run_id}").set_value("best, two-words")
    press(at, "save-description")
    run = store.run(run_id)
    assert (run.name, run.note, run.tags) == ("short", "half the steps", ("best", "two-words"))
    assert frame(at)["run"][0] == "short"
    watch = page("watch", run=run_id)
    assert watch.selectbox(key="picked_run").options == ["short · mine · anchors and comparison · done"]


def test_a_tag_that_is_none_is_one_sentence_and_the_dialog_stays(store, zoo):  # noqa: F811
    run_id = made(store, zoo)
    at = press(select(page("home"), [run_id], 0), "edit-selected")
    at.text_input(key=f"tags-{run_id}").set_value("<script>")
    press(at, "save-description")
    assert "is no tag" in at.error[0].value and at.button(key="save-description") and store.run(run_id).tags == ()


def test_run_again_fills_the_form_with_the_same_settings(store, zoo, started, monkeypatch):  # noqa: F811
    monkeypatch.setattr(survey, "answer", lambda spec, **_: {"blocks": [{}] * 4})
    construct = construct_settings("paper", init="gauss", sigma=0.5, steps=77, seed=4)
    spec = make_spec(
        zoo,
        tasks=("faces",),
        blocks=(0, 2),
        construct=construct,
        methods=("ties", "ties:swept", "fda:ta"),
        hyperparameters={"ties": {"density": 0.5}},
        adaptation={"coefficients_epochs": 7},
        device="cpu",
        seed=4,
    )
    run_id = store.create_run(spec)
    store.set_state(run_id, "cancelled")
    at = press(select(page("home"), [run_id], 0), "again")
    assert at.title[0].value == "Construct"
    at.switch_page("construct.py").run()  # for the runs that follow; a browser is there already
    assert at.number_input(key="seed").value == 4 and at.number_input(key="steps").value == 77
    at.number_input(key="seed").set_value(5).run()
    press(at, "start")
    (again,) = started
    wanted = spec.model_copy(update={"seed": 5, "construction": construct.model_copy(update={"seed": 5})})
    assert again.model_copy(update={"methods": ()}) == wanted.model_copy(update={"methods": ()})
    assert set(again.methods) >= set(spec.methods)


def test_a_run_that_the_form_cannot_make_says_so(store, zoo):  # noqa: F811
    run_id = store.create_run(make_spec(zoo, methods=("ta",), device="cpu"))
    store.set_state(run_id, "cancelled")
    button = select(page("home"), [run_id], 0).button(key="again")
    assert button.disabled and button.help == "the form makes runs that construct anchors"


def test_queued_runs_are_moved_and_cancelled(store, zoo):  # noqa: F811
    first, second = made(store, zoo, state="queued"), made(store, zoo, seed=1, state="queued")
    at = page("home")
    assert f"`{first}` · number 1 in the queue of cpu" in text(at)
    assert at.button(key=f"move-up-{first}").disabled and at.button(key=f"move-down-{second}").disabled
    press(at, f"move-up-{second}")
    assert store.queue_position(second) == 1
    assert list(frame(at)["state"]) == ["queued, number 1", "queued, number 2"]
    press(at, f"stop-{first}")
    assert store.run(first).state == "cancelled"
    watch = page("watch", run=second)
    assert "This run is number 1 in the queue of cpu" in text(watch) and "worker is starting" not in text(watch)


def test_the_number_of_queries_does_not_grow_with_the_runs(store, zoo, monkeypatch):  # noqa: F811
    from fda.jobs.liveness import LiveStore
    from fda.report.runs_table import run_rows

    counts = []
    for number in (2, 20):
        while len(store.runs()) < number:
            made(store, zoo, seed=len(store.runs()))
        opened = []
        monkeypatch.setattr(
            LiveStore, "_snapshot", lambda self, opened=opened: opened.append(1) or Store._snapshot(self)
        )
        assert len(run_rows(LiveStore())) == number
        counts.append(len(opened))
    assert counts[0] == counts[1] <= 4

"""Anchors that others published, on the pages: said to be theirs, seen once, and compared as one's own."""

from pathlib import Path

import pytest

from fda.jobs import lifecycle as jobs
from fda.report.anchors import run_names
from fda.report.comparison import ALWAYS
from fda.report.model_card import _commands, _construction
from fda.report.run_report import facts
from fda.requests.published import published_spec
from fda.requests.runs import MAIN_METHODS, construct_settings, make_spec
from fda.store.store import Store
from fda.ui.runs import labels
from tests.pages.test_anchors_page import scrubbed
from tests.pages.test_pages import figures, page, press, text
from tests.runs.test_published import NAME, carried_out, publish

TOLD = f"Others constructed these anchors; they were imported from `{NAME}`"


@pytest.fixture(scope="module")
def shared(tmp_path_factory, tiny_zoo):
    """(folder, a run of one's own, the same anchors published and imported)."""
    folder = tmp_path_factory.mktemp("published")
    store = Store(folder / "home")
    construct = construct_settings("paper", init="gauss", sigma=0.5, steps=6, anchors=4)
    own = carried_out(store, make_spec(tiny_zoo, construct=construct, device="cpu"))
    theirs = published_spec(tiny_zoo, publish(store, own, folder / "theirs"), device="cpu")
    return folder, own, carried_out(store, theirs)


@pytest.fixture
def runs(shared, tiny_zoo, monkeypatch) -> tuple[str, str]:
    folder, own, theirs = shared
    monkeypatch.setenv("FDA_HOME", str(folder / "home"))
    monkeypatch.setenv("FDA_MODEL_ROOTS", f"{folder}:{tiny_zoo.parent}")
    return own, theirs


def test_watch_says_whose_they_are_and_draws_nothing_that_is_not_known(runs):
    own, theirs = (page("watch", run=one) for one in runs)
    assert TOLD in text(theirs) and "Others constructed" not in text(own)
    assert "published anchors" in labels([Store().run(runs[1])])[runs[1]]
    cosines = {name: found for name, found in figures(theirs).items() if name.startswith("Cosine")}
    assert [[trace["name"] for trace in found["data"]] for found in cosines.values()] == [["now"]]
    scales = [
        [trace["marker"]["showscale"] for trace in found["data"] if "showscale" in trace.get("marker", {})]
        for at in (own, theirs)
        for name, found in figures(at).items()
        if name.startswith("Singular values")
    ]
    assert scales == [[True], [False]]


@pytest.mark.parametrize("tab", ["Spectrum", "Alignment", "Across units", "Real inputs"])
def test_every_view_of_anchors_shows_them_at_their_one_step(runs, tab):
    at = page("anchors", run=runs[1], tab=tab)
    assert TOLD in text(at) and not at.error
    spec, _ = scrubbed(at)
    assert [figure["figure"]["data"] for figure in spec["figures"]]
    if "step" in spec["dials"]:
        assert spec["dials"]["step"]["choices"] == ["6"]
    if tab == "Alignment":
        assert "Of published gauss σ 0.5, similarity with real data is **" in text(at)


def test_beside_ones_own_they_are_not_said_to_have_settings_that_nobody_knows(runs):
    known = [Store().run(one) for one in runs]
    assert list(run_names(known).values()) == ["gauss σ 0.5", "published gauss σ 0.5"]
    for run in known:
        told = _construction(Store(), run)
        assert "init gauss, sigma 0.5" in told and "steps 6" in told
        assert ("learning_rate" in told) == ("published" not in told) == (run.spec.published is None)


def test_a_model_card_calls_their_folder_by_its_name(runs, shared):
    lines = "\n".join(_commands(Store(), Store().run(runs[1]), "fda:ta", None))
    assert f"import {NAME}" in lines and str(shared[0]) not in lines


def test_a_report_says_that_they_were_imported(runs):
    told = facts(Store().run(runs[1]), None)["Anchors"]
    assert told.startswith("published, imported from") and "steps 6" in told and "learning_rate" not in told


def test_methods_are_compared_on_anchors_that_were_compared_by_none(runs, monkeypatch):
    started = []
    monkeypatch.setattr(jobs, "start", lambda store, spec: started.append(spec) or store.create_run(spec))
    for run_id in runs:
        at = page("watch", run=run_id)
        assert {*at.multiselect(key="more_methods").value, *ALWAYS} == set(MAIN_METHODS)
        press(at, "more_start")
        assert started[-1].anchors_run == run_id and started[-1].construction is None
        assert set(started[-1].methods) == set(MAIN_METHODS)
    waiting = Store().runs()[0].run_id
    assert "more_methods" not in {one.key for one in page("watch", run=waiting).multiselect}
    assert Path(started[-1].zoo_path).is_file()

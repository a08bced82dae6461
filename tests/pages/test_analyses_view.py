"""The view Analyses: a panel is asked for once, then shown from what the run keeps, for the reader's choices."""

import pytest

from fda.jobs import lifecycle as jobs
from fda.report.analyses import WORDS
from fda.requests.analyses import analysis_spec
from fda.requests.runs import construct_settings, make_spec
from fda.store.analyses import analysis_file, save_table, table_of
from fda.store.store import Store
from tests.pages.test_pages import figures, page, press, text

COVARIANCE = [
    ("red", 0, "c_fc", 0.5, 0.75, 1.0, 0.25),
    ("red", 1, "c_fc", 0.5, 0.75, 1.0, 0.25),
    ("bright", 0, "c_fc", 0.125, 0.25, 1.0, 0.25),
    ("bright", 1, "c_fc", 0.125, float("nan"), 1.0, 0.25),
]


@pytest.fixture
def run_id(fda_home, tiny_zoo, monkeypatch) -> str:
    monkeypatch.setattr(jobs, "_spawn", lambda *_: None)
    store = Store(fda_home)
    run_id = store.create_run(make_spec(tiny_zoo, construct=construct_settings("fast"), methods=("ta",), device="cpu"))
    store.set_state(run_id, "done")
    return run_id


def test_a_panel_is_computed_when_it_is_asked_for_and_then_shown(run_id, fda_home):
    store = Store(fda_home)
    at = page("run", run=run_id, view="Analyses")
    assert WORDS["covariance"].asks in text(at) and not figures(at)
    press(at, "compute_covariance")
    (helper,) = store.runs(kinds=("analysis",))
    assert helper.spec == analysis_spec(store.run(run_id), ("covariance",)) and "for the device" in text(at)
    save_table(analysis_file(store.run_dir(run_id), "covariance"), table_of("covariance", COVARIANCE, ["of a test."]))
    store.set_state(helper.run_id, "done")
    at = page("run", run=run_id, view="Analyses")
    (figure,) = figures(at).values()
    curves = {trace["name"]: (trace["x"], trace["y"]) for trace in figure["data"]}
    assert curves["anchors"] == ([0, 1], [0.5, 0.75]), "the mean over the tasks that have a number"
    assert "task vector, τᵀτ 0.31, anchors 0.58" in text(at) and "Of a test." in text(at)
    at = page("run", run=run_id, view="Analyses", an_task="red")
    (figure,) = figures(at).values()
    assert figure["data"][0]["y"] == [0.5, 0.5]


def test_a_damaged_file_is_one_sentence(run_id, fda_home):
    path = analysis_file(Store(fda_home).run_dir(run_id), "covariance")
    path.parent.mkdir()
    path.write_text('{"columns": {"task": ["<script>"]}, "notes": []}')
    assert "delete the file, then compute the panel again" in text(page("run", run=run_id, view="Analyses"))

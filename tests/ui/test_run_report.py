"""A run as one file: whole, offline, with its numbers inside, and safe whatever a zoo file says of itself."""

import base64
import html
import io
import json
import re
import subprocess
import sys

import pandas as pd
import pytest

from fda.cancel import NEVER
from fda.home import REPO
from fda.report.run_report import run_report
from fda.report.verdict import verdict_of
from fda.requests.runs import construct_settings, make_spec
from fda.stages.execute import execute
from fda.store.records import MethodResult, UnitKey
from fda.store.spec import RunSpec
from fda.store.store import Store

METHODS = ("pretrained", "individual", "ta", "wudi", "fda:ta")


@pytest.fixture(scope="module")
def made(tiny_zoo, tmp_path_factory):
    """A store with a finished run of the tiny zoo, one of whose methods fails, and its report."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FDA_HOME", str(home))
        store = Store(home)
        spec = make_spec(
            tiny_zoo, construct=construct_settings("fast", steps=5, anchors=3), methods=METHODS,
            hyperparameters={"wudi": {"steps": 2}}, device="cpu",
        )  # fmt: skip
        spec = spec.model_copy(update={"zoo": spec.zoo.model_copy(update={"description": "<script>alert(1)</script>"})})
        run_id = store.create_run(spec)
        execute(store, run_id, NEVER)
        store.add_result(run_id, MethodResult("ties", "failed", {}, None, None, "the disk was full.<br>"))
        store.set_state(run_id, "done")
    return store, run_id, run_report(store, store.run(run_id))


def tables(text: str) -> dict[str, pd.DataFrame]:
    found = re.findall(r'download="([^"]+)" href="data:text/csv;base64,([^"]+)"', text)
    return {name: pd.read_csv(io.BytesIO(base64.b64decode(data))) for name, data in found}


def test_the_numbers_in_the_file_are_those_of_the_store(made):
    store, run_id, text = made
    found = tables(text)
    scores = {(score.method, score.task): score.value for score in store.results(run_id)[1]}
    rows = found["results.csv"].set_index("method")
    for (method, task), value in scores.items():
        assert rows.loc[method, task] == pytest.approx(value)
    for key, (steps, values) in store.scalars(run_id, "angle_loss", points=None).items():
        own = found["angle_loss.csv"].query(f"task == '{key.name}' and block == {key.block}")
        assert own["step"].tolist() == steps.tolist() and own["angle_loss"].tolist() == pytest.approx(values.tolist())
    key = UnitKey("construct", store.run(run_id).spec.tasks[0], 0)
    steps, values = store.snapshots(run_id, "spectrum")[key]
    own = found["spectra.csv"].query(f"task == '{key.name}' and block == 0")
    assert own["step"].tolist() == steps.tolist()
    assert own.drop(columns=["task", "block", "step"]).to_numpy() == pytest.approx(values)


def test_the_settings_in_the_file_repeat_the_run(made):
    store, run_id, text = made
    settings = re.search(r"<h2>Settings</h2><pre>(.*?)</pre>", text, re.DOTALL)[1]
    assert RunSpec.model_validate(json.loads(html.unescape(settings))) == store.run(run_id).spec
    assert "python -m fda compare" in text and f"--anchors {run_id}" in text


def test_the_file_asks_nothing_of_the_network_and_runs_nothing_of_a_zoo(made):
    text = made[2]
    assert not re.search(r"""<(script|link|img|iframe)[^>]+(src|href)\s*=""", text)
    assert "<script>alert" not in text and "&lt;script&gt;alert" in text


def test_every_figure_and_every_failure_is_there(made):
    text = made[2]
    assert text.count("Plotly.newPlot(") >= 9 and text.count('class="plotly-graph-div"') >= 9
    assert "plotly.js v" in text and text.count("plotly.js v") == 1, "the library once"
    assert "TIES failed: the disk was full.&lt;br&gt;" in text


def test_the_verdict_stands_at_the_top(made):
    store, run_id, text = made
    sentences = verdict_of(store, store.run(run_id))
    top = html.unescape(text[text.index("<h1>") : text.index("<dl>")])
    assert sentences and all(f'<p class="verdict">{sentence}</p>' in top for sentence in sentences)


def test_the_command_writes_the_same_and_refuses_in_one_sentence(made, tmp_path):
    store, run_id, _ = made

    def fda(*words):
        return subprocess.run(
            [sys.executable, "-m", "fda", "report", *map(str, words)],
            cwd=REPO, env={"PATH": "/usr/bin:/bin", "FDA_HOME": str(store.home)}, capture_output=True, text=True,
        )  # fmt: skip

    done = fda(run_id, "--out", tmp_path / "run.html")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    written = tables((tmp_path / "run.html").read_text(encoding="utf-8"))
    pd.testing.assert_frame_equal(written["results.csv"], tables(made[2])["results.csv"])
    for words in (
        ("20260101-000000-dead", "--out", tmp_path / "x.html"),
        (run_id, "--out", tmp_path / "no" / "x.html"),
    ):
        wrong = fda(*words)
        assert wrong.returncode == 2 and len(wrong.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "x.html").exists()

"""The landscape of a real small run: what it shows while it runs and after, its form, its notices, what it starts."""

import os
import subprocess
import sys

import numpy as np
import pytest

from fda.cancel import NEVER, Cancel, Cancelled
from fda.home import ASSETS, REPO
from fda.jobs import lifecycle as jobs
from fda.processes import start_time
from fda.report import landscape
from fda.report.command import run_commands
from fda.report.run_report import run_report
from fda.requests.landscape import landscape_spec
from fda.requests.runs import construct_settings, make_spec
from fda.stages.execute import execute
from fda.store.landscape_record import load_map, map_file, read_numbers
from fda.store.store import Store
from tests.pages.test_pages import figures, page, press, text

SMALL = {"points": 5, "samples": 16, "snapshots": 3}


@pytest.fixture(scope="module")
def shared(tiny_zoo, tmp_path_factory):
    """(home, source, landscape) of finished runs."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("FDA_HOME", str(home))
        store = Store(home)
        source = store.create_run(
            make_spec(tiny_zoo, construct=construct_settings("fast", steps=3, anchors=4), device="cpu")
        )
        carried_out(store, source)
        whole = store.create_run(landscape_spec(store, source, **SMALL))
        carried_out(store, whole)
        yield home, source, whole


def carried_out(store: Store, run_id: str) -> None:
    store.claim_process(run_id, os.getpid(), start_time(os.getpid()))
    store.set_state(run_id, "running")
    execute(store, run_id, NEVER)
    store.set_state(run_id, "done")


@pytest.fixture
def runs(shared, monkeypatch):
    """(store, source, landscape) with FDA_HOME set to theirs."""
    home, source, whole = shared
    monkeypatch.setenv("FDA_HOME", str(home))
    return Store(home), source, whole


def at_work(store: Store, spec, stop) -> str:
    """A run of this spec that is as far as `stop` lets it come, with this process for its worker."""
    run_id = store.create_run(spec)
    store.claim_process(run_id, os.getpid(), start_time(os.getpid()))
    store.set_state(run_id, "running")
    with pytest.raises(Cancelled):
        execute(store, run_id, Cancel(lambda: stop(run_id)))
    return run_id


def test_a_finished_landscape_shows_plane_paths_and_scores(runs):
    store, source, run_id = runs
    at = page("landscape", run=run_id)
    drawn = figures(at)
    plane, curves = (next(f for alt, f in drawn.items() if alt.startswith(start)) for start in ("Filled", "Loss or"))
    assert "contour" in [trace["type"] for trace in plane["data"]] and plane["layout"]["uirevision"] == run_id
    assert [trace["name"] for trace in curves["data"][:2]] == ["Task arithmetic", "FDA (Pretrained)"]
    assert len(plane["layout"]["annotations"]) == 5
    numbers = read_numbers(store, run_id, load_map(store.run_dir(run_id)))
    metrics = {metric.label: metric.value for metric in at.metric}
    assert metrics["Loss"] == f"{numbers.tracks['loss']['fda:pretrained'][-1]:.3f}"
    assert metrics["Accuracy"] == f"{100 * numbers.tracks['accuracy']['fda:pretrained'][-1]:.1f} %"
    assert "The lowest loss of task arithmetic is" in text(at) and "FDA (TA) ends at" in text(at)
    assert f"python -m fda landscape {source} --points 5 --samples 16 --snapshots 3 --device cpu" in text(at)
    assert "over a plane of weights" in run_report(store, store.run(source)), "the report of the run has it too"


def test_the_slider_walks_along_the_chosen_path_and_its_place_is_in_the_url(runs):
    store, _, run_id = runs
    at = page("landscape", run=run_id, path="Task arithmetic", at="λ 0.3", metric="accuracy", of="bright")
    numbers = read_numbers(store, run_id, load_map(store.run_dir(run_id)), "bright")
    place = load_map(store.run_dir(run_id)).track("ta").at.index(0.3)
    metrics = {metric.label: metric.value for metric in at.metric}
    assert metrics["Accuracy"] == f"{100 * numbers.tracks['accuracy']['ta'][place]:.1f} %"
    assert "Accuracy on bright" in next(iter(figures(at).values()))["layout"]["title"]["text"]
    at.select_slider(key="at").set_value("λ 1").run()
    metrics = {metric.label: metric.value for metric in at.metric}
    assert metrics["Loss"] == f"{numbers.tracks['loss']['ta'][-1]:.3f}"
    at.button_group(key="path").set_value("fda:ta").run()
    assert not at.exception and at.select_slider(key="at").value == "epoch 3", (
        "an epoch, for λ is no place on this path"
    )


def test_values_in_the_url_that_are_none_are_left_out(runs):
    at = page("landscape", run=runs[2], path="nowhere", at="epoch 99", metric="size", of="x", log="maybe")
    assert at.select_slider(key="at").value == "epoch 3" and len(figures(at)) == 2


def test_while_the_blocks_adapt_the_page_says_so_and_offers_to_stop(runs, monkeypatch):
    store, source, _ = runs
    run_id = at_work(store, landscape_spec(store, source, **SMALL), lambda run: bool(store.units(run)))
    at = page("landscape", run=run_id)
    assert "adapting the blocks" in text(at) and figures(at) == {}
    press(at, "stop")
    assert store.run(run_id).state == "stopping"
    store.set_state(run_id, "cancelled")
    at = page("landscape", run=run_id)
    assert "resume it" in text(at) and at.button(key="resume")
    store.delete_run(run_id)


def test_the_first_points_show_before_the_grid_is_whole(runs):
    store, source, _ = runs
    run_id = at_work(
        store,
        landscape_spec(store, source, **SMALL),
        lambda run: any(unit.key.name == "grid" and unit.state == "done" for unit in store.units(run, "landscape")),
    )
    at = page("landscape", run=run_id)
    plane = next(f for alt, f in figures(at).items() if alt.startswith("Filled"))
    assert "contour" not in [trace["type"] for trace in plane["data"]]
    assert at.metric[0].value == "–" and "of 12 units" in at.get("progress")[0].proto.text
    store.set_state(run_id, "cancelled")
    store.delete_run(run_id)


def test_without_a_landscape_the_page_starts_one_of_a_finished_run(runs, monkeypatch):
    _, source, whole = runs
    started = []
    monkeypatch.setattr(jobs, "start", lambda store, spec: started.append(spec) or whole)
    monkeypatch.setattr(Store, "runs", lambda self, **_: [self.run(source)])
    at = page("landscape", run=source)
    at.number_input(key="points").set_value(9)
    at.selectbox(key="directions").set_value("paths").run()
    assert "--directions paths --points 9" in text(at)
    press(at, "start")
    (spec,) = started
    assert (spec.landscape.points, spec.landscape.directions, spec.anchors_run) == (9, "paths", source)
    assert at.query_params["run"] == source, "its landscape appears there"


def test_a_setting_that_is_wrong_is_one_sentence_and_cannot_be_started(runs):
    at = page("landscape", run=runs[2], points="6")
    assert "6 is even" in at.error[0].value and at.button(key="start").disabled


def test_an_empty_store_says_what_to_do(fda_home):
    at = page("landscape")
    assert "There is no run yet" in text(at)


def test_a_run_shows_the_landscape_of_its_anchors(runs):
    _, source, whole = runs
    for query in ({"run": source}, {"source": source}, {"run": whole}):
        at = page("landscape", **query)
        assert not at.error and len(figures(at)) == 2
        assert not at.button(key="start").disabled, "one click computes another"


def test_a_run_that_is_not_there_is_a_notice(runs):
    assert "There is no run" in page("landscape", run="20260101-000000-dead").error[0].value


def test_a_damaged_plane_is_one_sentence(runs):
    store, _, run_id = runs
    path = map_file(store.run_dir(run_id))
    whole = path.read_bytes()
    path.write_text("{")
    try:
        at = page("landscape", run=run_id)
        assert "is damaged" in at.error[0].value
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["home", "watch"])
def test_other_pages_know_a_landscape(name, runs):
    at = page(name, run=runs[2])
    listed = at.dataframe[0].value["kind"] if name == "home" else at.selectbox[0].options
    assert not at.error and "loss landscape" in str(list(listed))


def test_no_torch_in_the_page(runs):
    home, run_id = runs[0].home, runs[2]
    code = f"""
import sys
from streamlit.testing.v1 import AppTest
at = AppTest.from_file({str(REPO / "pages" / "frame.py")!r}, default_timeout=60)
at.query_params["run"] = {run_id!r}
at.query_params["view"] = "Landscape"
at.switch_page("run.py").run()
assert not at.exception and at.metric, at.exception
print("heavy:", [name for name in ("torch", "transformers", "open_clip", "datasets") if name in sys.modules])
"""
    environment = os.environ | {"FDA_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO, timeout=100, env=environment
    )
    assert "heavy: []" in done.stdout, done.stdout + done.stderr


def test_the_command_line_computes_what_the_page_shows(runs):
    """The command that the page tells is the same request; it prints the ends and the lowest point."""
    store, source, run_id = runs
    (line,) = run_commands(store.run(run_id).spec)
    done = subprocess.run(
        [sys.executable, *line.split()[1:]], capture_output=True, text=True, cwd=REPO, timeout=100,
        env=os.environ | {"FDA_HOME": str(store.home)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    numbers = read_numbers(store, run_id, load_map(store.run_dir(run_id)))
    assert f"{numbers.tracks['loss']['fda:ta'][-1]:.4f}" in done.stdout and "lowest loss on the grid" in done.stdout
    (lowest,) = (line for line in done.stdout.splitlines() if line.startswith("lowest loss on the grid"))
    assert float(lowest.split()[-2]) == pytest.approx(
        np.min(numbers.grid["loss"]), abs=2e-4
    )  # the last digit may round
    (again,) = (run for run in store.runs() if run.run_id not in (source, run_id))
    assert again.spec == store.run(run_id).spec and again.state == "done"
    store.delete_run(again.run_id)


def test_tables_hold_every_point_and_model(runs):
    store, _, run_id = runs
    found = load_map(store.run_dir(run_id))
    numbers = read_numbers(store, run_id, found)
    grid = landscape.grid_table(found, numbers)
    assert len(grid) == 25 and grid["a"][1] == found.a[1] and grid["b"][5] == found.b[1]
    assert grid["loss"][7] == numbers.grid["loss"][1, 2]
    models = landscape.paths_table(found, numbers, ("red", "bright"))
    assert list(models[models["path"] == "finetuned"]["point"]) == ["red", "bright"]
    assert models[models["path"] == "fda:ta"]["from_pretrained"].iloc[0] == pytest.approx(0.3, abs=1e-6)


def test_the_text_is_short_and_has_its_equation():
    words = (ASSETS / "texts" / "landscape.md").read_text(encoding="utf-8")
    assert len(words.split()) <= 120 and "$$" in words

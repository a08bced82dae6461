"""The anchors of runs with generated numbers: its views, its URL, runs side by side, what is missing, what it starts."""

import json

import numpy as np
import pandas as pd
import pytest

from fda.anchors.construct import spaced_steps
from fda.jobs import lifecycle as jobs
from fda.report import anchors
from fda.requests import ablation
from fda.requests.ablation import ablation_specs, other_starts, run_of, start_ablation
from fda.requests.runs import make_spec
from fda.store.store import Store
from fda.ui.run import anchors_real, anchors_tables
from tests.pages.test_pages import page, press, text
from tests.support.made_anchors import TENSORS, made_run, made_zoo

LIMIT = 2_000_000  # bytes that a page may send at once
STEPS = spaced_steps(60)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """(home, zoo, ids): weight, gauss 0.01, gauss 1, and an old one."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("made")
        patch.setenv("FDA_HOME", str(root / "home"))
        patch.setenv("FDA_MODEL_ROOTS", str(root))
        zoo, store = made_zoo(root, ("digits", "faces")), Store(root / "home")
        starts = ({"init": "weight"}, {"init": "gauss", "sigma": 0.01}, {"init": "gauss", "sigma": 1.0})
        ids = [made_run(store, zoo, **start) for start in starts]
        ids.append(made_run(store, zoo, old=True, steps=30, seed=1))
        yield root, zoo, ids


@pytest.fixture
def made(shared, monkeypatch):
    """(store, zoo, ids) with the environment of theirs."""
    root, zoo, ids = shared
    monkeypatch.setenv("FDA_HOME", str(root / "home"))
    monkeypatch.setenv("FDA_MODEL_ROOTS", str(root))
    return Store(root / "home"), zoo, ids


def scrubbed(at) -> tuple[dict, dict]:
    """(what the scrubber shows, where its dials stand)."""
    for element in at.get("bidi_component"):
        data = json.loads(element.proto.json) if element.proto.json else {}
        if "spec" in data:
            return json.loads(data["spec"]), data["at"]
    raise AssertionError("there is no scrubber")


def names(at) -> list[str]:
    return [figure["name"] for figure in scrubbed(at)[0]["figures"]]


def sent(at) -> int:
    return sum(len(element.proto.SerializeToString()) for element in at.get("bidi_component"))


def test_the_spectrum_and_what_sums_it_up_are_there_and_the_dial_stands_at_the_last_step(made):
    _, _, ids = made
    at = page("anchors", run=ids[0])
    spec, places = scrubbed(at)
    assert names(at) == ["Spectrum", "Effective rank", "Tail energy", "Angle loss"]
    assert spec["dials"]["step"]["choices"] == [str(step) for step in STEPS] and spec["dials"]["step"]["plays"]
    assert places["step"] == len(STEPS) - 1
    move = next(one for one in spec["figures"][0]["moves"] if one["path"].endswith(".y"))
    expected = np.exp(-2 * np.arange(40) / 40)  # block 0, seed 0, the third snapshot
    assert np.allclose(move["values"][2], expected, rtol=1e-4)
    assert all(figure["alt"] for figure in spec["figures"])


def test_alignment_has_every_measure_with_the_lines_to_read_them_against(made):
    at = page("anchors", run=made[2][0], tab="Alignment")
    spec, places = scrubbed(at)
    assert names(at) == [
        "Similarity",
        "Similarity by share",
        "Principal angles",
        "Cosines",
        "Projection energy at θ₀",
        "Projection energy at the merged model",
    ]
    assert spec["dials"]["share"]["choices"][places["share"]] == "20%, k = 8"
    assert spec["figures"][4]["figure"]["layout"]["annotations"][0]["text"] == "real data"
    assert "begins at 0.200 and rises to **0.300** (chance 0.20)" in text(at)
    cosines = next(figure for figure in spec["figures"] if figure["name"] == "Cosines")
    assert set(cosines["figure"]["data"][0]["y"]) == set(TENSORS)


def test_where_the_dials_stand_is_in_the_url(made):
    at = page("anchors", run=made[2][0], tab="Alignment", step=str(STEPS[3]), share="0.5", task="faces", block="1")
    assert (scrubbed(at)[1]["step"], scrubbed(at)[1]["share"]) == (3, 24)
    assert at.selectbox(key="unit").value == "faces/1"
    at = page("anchors", run=made[2][0], step="7.5", share="x", anchor="-1", task="nobody", block="99")
    assert scrubbed(at)[1] == {"step": len(STEPS) - 1, "share": 9, "anchor": 0} and not at.error


def test_runs_lie_over_one_another_with_differences_to_the_reference(made):
    _, _, ids = made
    at = page("anchors", run=ids[0], runs=",".join(ids[1:3]), pin=ids[1])
    spec, _ = scrubbed(at)
    assert spec["readings"]["rows"] == ["weight", "gauss σ 0.01 (reference)", "gauss σ 1"]
    row = dict(zip(spec["readings"]["columns"], spec["readings"]["cells"][-1][0], strict=True))
    assert row["effective rank"] == "20.0 (+0.0)" and row["similarity (20 %)"] == "0.300 (+0.000)"
    assert [trace["name"] for trace in spec["figures"][0]["figure"]["data"]] == spec["readings"]["rows"]
    at.selectbox(key="anchors_pin").set_value(ids[2]).run()
    assert at.query_params["pin"] == ids[2] or at.query_params["pin"] == [ids[2]]
    assert "gauss σ 1 (reference)" in scrubbed(at)[0]["readings"]["rows"]


def test_a_run_of_other_length_keeps_its_last_snapshot_and_an_old_one_is_told(made):
    _, _, ids = made
    at = page("anchors", run=ids[0], runs=ids[3], tab="Alignment")
    spec, _ = scrubbed(at)
    assert "did not record every measure" in text(at) and "weight, steps 30, seed 1" in text(at)
    assert spec["readings"]["cells"][-1][1][2] == "–", "an old run has no effective rank"
    similarity = next(one for one in spec["figures"] if one["name"] == "Similarity")
    assert [one["name"] for one in similarity["figure"]["data"]][:1] == ["weight, steps 60, seed 0 (reference)"]


def test_an_old_run_alone_shows_what_it_has(made):
    at = page("anchors", run=made[2][3], tab="Alignment")
    assert names(at) == ["Similarity"] and "This run did not record every measure" in text(at)
    at = page("anchors", run=made[2][3], tab="Real inputs")
    assert "kept no real inputs" in text(at)


@pytest.mark.parametrize(("over", "rows"), [("steps", len(STEPS)), ("tasks", 2), ("blocks", 2)])
@pytest.mark.parametrize("shape", ["curves", "ridge", "heatmap"])
def test_spectra_over_steps_tasks_and_blocks(made, over, rows, shape):
    at = page("anchors", run=made[2][0], tab="Across units", over=over, shape=shape)
    spec, _ = scrubbed(at)
    traces = spec["figures"][0]["figure"]["data"]
    assert ("step" in spec["dials"]) == (over != "steps")
    if shape == "heatmap":
        assert len(traces[0]["y"]) == rows
    else:
        uids = [trace["uid"] for trace in traces if trace["uid"] != "steps"]
        assert len([uid for uid in uids if not uid.startswith("base-")]) == rows


def test_the_nearest_real_inputs_of_an_anchor_are_shown_with_cosine_and_label(made):
    at = page("anchors", run=made[2][0], tab="Real inputs", anchor="3")
    spec, places = scrubbed(at)
    assert places["anchor"] == 3 and spec["points"]["anchors"]["dial"] == "anchor"
    assert spec["cards"]["sets"][3][0] == [3, "cosine 0.900 · odd (no. 9)"]
    assert spec["cards"]["sheet"]["source"].startswith("data:image/webp;base64,")
    assert len(spec["cards"]["names"]) == 9 and len(spec["dials"]["anchor"]["choices"]) == 12
    assert "nearest real input is 0.90 on average; that of a real input to the nearest other one is 0.70." in text(at)


def test_texts_are_shown_as_texts(made, tmp_path, monkeypatch):
    monkeypatch.setenv("FDA_HOME", str(tmp_path / "texts"))
    run_id = made_run(Store(), made[1], texts=True)
    spec, _ = scrubbed(page("anchors", run=run_id, tab="Real inputs"))
    assert spec["cards"]["sheet"] is None and spec["cards"]["texts"][2] == "a sentence about digits, number 2"


def test_damaged_real_samples_are_one_sentence(made, tmp_path, monkeypatch):
    monkeypatch.setenv("FDA_HOME", str(tmp_path / "damaged"))
    store = Store()
    run_id = made_run(store, made[1])
    (store.run_dir(run_id) / "real" / "digits.safetensors").write_bytes(b"\x00")
    at = page("anchors", run=run_id, tab="Real inputs")
    assert len(at.error) == 1 and "cannot be read" in at.error[0].value


def test_the_sheet_holds_every_image_in_its_place():
    images = np.stack([np.full((4, 6, 3), 20 * n, np.uint8) for n in range(7)])
    made = anchors_real.sheet(images)
    assert (made.columns, made.rows, made.width, made.height) == (3, 3, 6, 4)


def test_every_number_shown_can_be_taken_home(made):
    store, _, ids = made
    shown = {ids[0]: "weight", ids[1]: "gauss"}
    measures = anchors_tables.measures_table(store, shown, "digits", 0)
    assert set(measures["run"]) == set(shown) and len(measures) == 2 * 61, "60 losses, and the last snapshot's row"
    last = measures[(measures["name"] == "weight") & (measures["step"] == 60)].iloc[0]
    assert last["effective_rank"] == 20 and last[f"cosine/{TENSORS[0]}"] == pytest.approx(0.9)
    record = anchors.read_unit(store, ids[0], "weight", "digits", 0)
    spectra = anchors_tables.snapshots_table([record], "spectrum")
    assert list(spectra.columns[:3]) == ["name", "step", "1"] and len(spectra) == len(STEPS)
    assert isinstance(anchors_tables.snapshots_table([], "angles"), pd.DataFrame)
    near = anchors_real.read_neighbours(store, ids[0], "digits", 0)
    table = anchors_tables.nearest_table(near)
    first = table.iloc[0]
    assert (
        len(table) == 60 and (first["sample"], first["label"]) == (0, "even") and first["cosine"] == pytest.approx(0.9)
    )
    assert list(anchors_tables.map_table(near)["kind"]).count("real") == 9
    across = anchors_tables.across_table(store, ids[0], names=["digits"], blocks=None)
    assert set(across["block"]) == {0, 1}


@pytest.mark.parametrize(("query", "says"), [
    ({"run": "20260101-000000-dead"}, "hoose one of the list above"),
    ({"runs": "20260101-000000-dead"}, "cannot be overlaid"),
])  # fmt: skip
def test_a_run_that_is_none_is_one_sentence(made, query, says):
    at = page("anchors", **query)
    assert len(at.error) == 1 and says in at.error[0].value


def test_without_a_run_and_before_the_first_step_the_page_says_what_to_do(made, tmp_path, monkeypatch):
    monkeypatch.setenv("FDA_HOME", str(tmp_path / "empty"))
    at = page("anchors")
    assert "start the demo on Home" in text(at) and at.button(key="ablation_start")
    store = Store()
    spec = ablation_specs(made[1], device="cpu")[0]
    run_id = store.create_run(spec)
    store.set_state(run_id, "cancelled")
    assert "ended before its first step" in text(page("anchors", run=run_id))


def test_compare_initialisations_queues_five_runs_and_opens_them_together(made, tmp_path, monkeypatch):
    monkeypatch.setenv("FDA_HOME", str(tmp_path / "queue"))
    monkeypatch.setattr(jobs, "_spawn", lambda *_: None)
    store = Store()
    first = made_run(store, made[1])
    at = page("anchors", run=first)
    at.number_input(key="ablation_steps").set_value(5).run()
    press(at, "ablation_start")
    queued = [run for run in store.runs() if run.state == "queued"][::-1]
    starts = [(run.spec.construction.init, run.spec.construction.sigma) for run in queued]
    assert [init for init, _ in starts] == ["weight", *["gauss"] * 4]
    assert [sigma for init, sigma in starts if init == "gauss"] == [1e-4, 1e-2, 1.0, 10.0]
    assert [store.queue_position(run.run_id) for run in queued] == [1, 2, 3, 4, 5], "one device takes them in turn"
    said = {name: value[0] if isinstance(value, list) else value for name, value in at.query_params.items()}
    assert said["run"] == queued[0].run_id and said["runs"] == ",".join(run.run_id for run in queued[1:])
    assert "python -m fda ablate --zoo" in text(at) and "--steps 5" in text(at)


def test_what_is_there_already_is_not_run_again(made, tmp_path, monkeypatch):
    monkeypatch.setenv("FDA_HOME", str(tmp_path / "again"))
    monkeypatch.setattr(jobs, "_spawn", lambda *_: None)
    store, zoo = Store(), made[1]
    specs = ablation_specs(zoo, steps=5, device="cpu")
    ids = start_ablation(store, specs)
    assert start_ablation(store, specs) == ids and len(store.runs()) == 5
    store.set_state(ids[2], "cancelled")
    assert start_ablation(store, specs) == ids and store.run(ids[2]).state == "queued"
    assert start_ablation(store, ablation_specs(zoo, steps=6, device="cpu"))[0] not in ids
    assert [run.run_id for run in other_starts(store.runs(), store.run(ids[0]))] == ids[1:]
    compared = make_spec(zoo, construct=specs[0].construction, methods=["ta"], device="cpu")
    assert ablation.run_of(store.runs(), compared).run_id == ids[0], "methods do not change anchors"
    assert run_of([], specs[0]) is None


def test_a_run_offers_to_lay_its_other_starts_over_it(made):
    _, _, ids = made
    at = press(page("anchors", run=ids[1]), "lay-over")
    rows = scrubbed(at)[0]["readings"]["rows"]
    assert rows == ["gauss σ 0.01 (reference)", "weight", "gauss σ 1"]


def test_a_run_of_the_paper_s_size_is_sent_in_parts_below_two_megabytes(made, tmp_path, monkeypatch):
    """ViT-B/32: 12 blocks × 8 tasks, 20 snapshots of 768 values, 1200 steps of scalars; one task and block beside it."""
    monkeypatch.setenv("FDA_HOME", str(tmp_path / "large"))
    monkeypatch.setenv("FDA_MODEL_ROOTS", str(tmp_path))
    tasks = ("sun397", "cars", "resisc45", "eurosat", "svhn", "gtsrb", "mnist", "dtd")
    store, zoo = Store(), made_zoo(tmp_path / "zoo", tasks)
    size = {"blocks": 12, "width": 768, "steps": 1200, "anchors": 64, "real": 64}
    run_id = made_run(store, zoo, **size)
    assert len(store.units(run_id)) == 96
    beside = [
        made_run(store, zoo, init="gauss", sigma=sigma, **size | {"blocks": 1}) for sigma in (1e-4, 1e-2, 1.0, 10.0)
    ]
    views = ({"tab": "Spectrum"}, {"tab": "Alignment"}, {"tab": "Real inputs"})
    across = [{"tab": "Across units", "over": over, "shape": "heatmap"} for over in ("tasks", "blocks")]
    for query in (*views, *across):
        at = page("anchors", run=run_id, runs=",".join(beside), task="svhn", **query)
        assert scrubbed(at)[0]["figures"] and sent(at) < LIMIT
    assert sent(page("watch", run=run_id)) < LIMIT

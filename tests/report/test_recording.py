"""A recording says what the store says, stays small, and is read with suspicion; the shipped one is what Home plays."""

import json
import math

import numpy as np
import pytest

from fda.errors import UserError
from fda.report.record import record
from fda.report.recording import MOST_BYTES, MOST_STEPS, Recording, read_recording, to_json
from fda.report.replay import replay
from fda.settings import FAST_CONSTRUCT, LandscapeSettings
from fda.store.landscape_record import LandscapeMap, Track, save_map, tile_key
from fda.store.records import MethodResult, Score, UnitKey
from fda.store.spec import RunSpec
from fda.store.store import Store
from fda.ui.recording import DEMO

TASKS = ("digits", "faces")
STEPS = 300


def spec(**changes) -> RunSpec:
    zoo = {"name": "mine", "base": {"model": "/base"}, "tasks": [{"name": name, "model": "/x"} for name in TASKS]}
    fields = {"zoo": zoo, "zoo_path": "/zoo.yaml", "tasks": TASKS, "construction": FAST_CONSTRUCT}
    return RunSpec.model_validate(fields | {"methods": ("pretrained", "ta", "fda:ta")} | changes)


def finished(store: Store, **changes) -> str:
    """A run of two tasks in two blocks: one unit that stopped early, one loss that is not finite, one method that failed."""
    run_id = store.create_run(spec(**changes))
    keys = [UnitKey("construct", task, block) for task in TASKS for block in range(2)]
    store.add_units(run_id, [(key, STEPS) for key in keys])
    for number, key in enumerate(keys):
        last = 100 if number == 3 else STEPS
        rows = [("angle_loss", step, (1 + number) / (1 + step)) for step in range(last)]
        if number == 2:
            rows[7] = ("angle_loss", 7, math.nan)
        store.add_scalars(run_id, key, rows, state="done", loss=rows[-1][2], step=last)
    for method, value in (("ta", 0.6), ("pretrained", 0.5)):  # not in the order of the registry
        scores = [Score(method, task, "test", "accuracy", value, 50) for task in TASKS]
        store.add_result(run_id, MethodResult(method, "done", {}, 1.0, 1, None), scores)
    store.add_result(run_id, MethodResult("fda:ta", "failed", {}, None, None, "no"))
    store.set_state(run_id, "done")
    return run_id


def with_landscape(store: Store, source: str, points: int = 5) -> LandscapeMap:
    run_id = store.create_run(spec(construction=None, methods=(), landscape=LandscapeSettings(source=source)))
    side = tuple(np.linspace(-0.2, 1.0, points).tolist())
    names = ("ta", "fda:pretrained", "fda:ta", "finetuned")
    tracks = tuple(Track(name=name, at=(0.0, 1.0), a=(0.0, 0.5), b=(0.0, 0.25), distance=(0.0, 0.0)) for name in names)
    plane = LandscapeMap(
        directions="ta_fda", unit=1.0, scale=0.3, split="test", samples=dict.fromkeys(TASKS, 8), a=side, b=side,
        tracks=tracks, fingerprints=(),
    )  # fmt: skip
    save_map(store.run_dir(run_id), plane)
    store.add_units(run_id, [(tile_key(0), points**2)])
    store.add_scalars(run_id, tile_key(0), [("loss", point, 1 + point / 7) for point in range(points**2)])
    store.set_state(run_id, "done")
    return plane


def test_a_recording_is_read_back_as_it_was_made_and_says_what_the_store_says(fda_home, tmp_path):
    store = Store(fda_home)
    run_id = finished(store)
    store.describe(run_id, name="short steps")
    plane = with_landscape(store, run_id)
    made = record(store, store.run(run_id))
    path = tmp_path / "run.json"
    path.write_text(to_json(made))
    assert read_recording(path) == made

    assert (made.title, made.tasks, made.zoo) == ("short steps", TASKS, "mine")
    assert [(one.method, one.kind, one.scores) for one in made.methods] == [
        ("ta", "weights", (0.6, 0.6)),
        ("pretrained", "reference", (0.5, 0.5)),
    ]
    assert len(made.steps) == MOST_STEPS and made.steps[0] == 0 and made.steps[-1] == STEPS - 1
    losses = {(curve.task, curve.block): dict(zip(made.steps, curve.loss, strict=True)) for curve in made.curves}
    assert losses["digits", 0] == {step: pytest.approx(1 / (1 + step), rel=1e-3) for step in made.steps}
    assert losses[TASKS[1], 1][STEPS - 1] == pytest.approx(4 / 100)  # it stopped early, and stays there
    assert made.plane.a == pytest.approx(plane.a, rel=1e-3)
    assert made.plane.loss[1][2] == pytest.approx(1 + 7 / 7, rel=1e-3)  # second row, third column
    assert made.verdict and made.settings["steps"] == FAST_CONSTRUCT.steps


def test_a_large_landscape_is_thinned_to_a_coarse_grid(fda_home):
    store = Store(fda_home)
    run_id = finished(store)
    with_landscape(store, run_id, points=65)
    plane = record(store, store.run(run_id)).plane
    assert len(plane.a) == len(plane.loss) == 33 and plane.loss[-1][-1] == pytest.approx(1 + (65**2 - 1) / 7, rel=1e-3)


def test_what_is_drawn_of_a_task_is_the_mean_and_the_range_of_its_blocks(fda_home):
    store = Store(fda_home)
    made = record(store, store.run(finished(store)))
    scene = replay(made, "dark")
    first, last = ([task[name][0] for name in ("low", "mean", "high")] for task in scene["tasks"])
    assert (first, last) == ([1, 1.5, 2], [3, 3.5, 4])
    assert [phase["name"] for phase in scene["phases"]] == ["anchors", "score"]  # there is no landscape
    assert "landscape" not in scene["sentence"]


@pytest.mark.parametrize(
    ("state", "kind", "sentence"),
    [("failed", {}, "only a run that is done"), ("done", {"methods": ()}, "neither a curve nor a score")],
)
def test_what_cannot_be_recorded_is_refused(state, kind, sentence, fda_home):
    store = Store(fda_home)
    run_id = store.create_run(spec(**kind))
    store.set_state(run_id, state)
    with pytest.raises(UserError, match=sentence):
        record(store, store.run(run_id))


def test_a_landscape_names_the_run_to_record(fda_home):
    store = Store(fda_home)
    source = finished(store)
    with_landscape(store, source)
    with pytest.raises(UserError, match=f"record the run that it shows, {source}"):
        record(store, store.runs(kinds=("landscape",))[0])


def broken(change) -> bytes:
    content = json.loads(DEMO.read_text())
    change(content)
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "no recording of version 1"),
        (b"[" * 100_000, "no recording of version 1"),
        (b" " * (MOST_BYTES + 1), "too many for a recording"),
        (broken(lambda one: one.update(version=2)), "version: "),
        (broken(lambda one: one.update(code="alert(1)")), "code: "),
        (broken(lambda one: one["curves"][0]["loss"].pop()), "a loss for each step"),
        (broken(lambda one: one["curves"][0]["loss"].__setitem__(0, math.nan)), "curves.0.loss.0: "),
        (broken(lambda one: one["curves"][0]["loss"].__setitem__(0, math.inf)), "curves.0.loss.0: "),
        (broken(lambda one: one["curves"].extend(one["curves"] * 80)), "too many for a recording"),
        (broken(lambda one: one["methods"][0]["scores"].append(1.0)), "a score for each task"),
        (broken(lambda one: one["plane"]["a"].reverse()), "plane: a and b must rise"),
        (broken(lambda one: one["plane"]["loss"].pop()), "plane: loss needs a row"),
        (broken(lambda one: one["plane"]["finetuned"]["a"].pop()), "differ in length"),
        (broken(lambda one: one["steps"].__setitem__(1, 0)), "steps must rise"),
        (broken(lambda one: one.update(steps=[])), "a curve needs two steps"),
        (broken(lambda one: one.update(zoo="x" * 1000)), "zoo: "),
        (broken(lambda one: one.update(date=1e300)), "date: "),
    ],
)
def test_a_broken_recording_is_refused_by_one_sentence(content, sentence, tmp_path):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=sentence) as refused:
        read_recording(path)
    assert "\n" not in str(refused.value) and "python -m fda record" in str(refused.value)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_recording(tmp_path / "run.json")


def test_the_recorded_demo_is_small_and_has_all_that_home_plays():
    assert DEMO.stat().st_size < 50_000
    demo = read_recording(DEMO)
    assert isinstance(demo, Recording) and demo.zoo == "demo" and demo.plane is not None
    assert len(demo.curves) == 20 and len(demo.methods) == 8 and len(demo.verdict) >= 2

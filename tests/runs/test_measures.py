"""What a run records of its anchors, recomputed from the files it leaves; and that recording changes nothing."""

import json

import numpy as np
import pytest
from PIL import Image

from fda.analysis.projection import induced_cone, induced_update, projection_energy
from fda.analysis.spectrum import decomposed, effective_rank, tail_energy, top_directions
from fda.analysis.subspace import principal_angles, similarity
from fda.anchors.construct import Snapshot, construct, spaced_steps
from fda.anchors.init import unit_seed
from fda.cancel import NEVER
from fda.requests.runs import adapt_settings, construct_settings, make_spec
from fda.stages import measuring as measures
from fda.stages import real_samples
from fda.stages.execute import execute
from fda.stages.unit_update import UnitUpdate
from fda.store.files import anchors_file
from fda.store.store import Store, UnitKey
from fda.tasks.data import load_split
from fda.tasks.inputs import block_inputs
from fda.ui.run.anchors_real import read_neighbours, read_samples
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo

STEPS = 6
KEY = UnitKey("construct", "bright", 1)


@pytest.fixture(scope="module")
def made(tiny_zoo, tmp_path_factory):
    """(store, run id, real block inputs of KEY, anchors at the last step), the last two computed here."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("FDA_HOME", str(home))
        store = Store(home)
        settings = construct_settings("fast", steps=STEPS, anchors=4, arithmetic="plain")
        run_id = store.create_run(make_spec(tiny_zoo, construct=settings, device="cpu"))
        execute(store, run_id, NEVER)
        opened = open_zoo(load_zoo(tiny_zoo))
        opened.model.load(opened.tasks[KEY.name])
        split = load_split(opened.zoo.task(KEY.name), "train", opened.model.transform)
        real = block_inputs(opened.model, split.images(64))[KEY.block]
        block = opened.model.blocks[KEY.block]
        base, finetuned = block.of(opened.base), block.of(opened.tasks[KEY.name])
        events = construct(
            block, base, finetuned, settings, seed=unit_seed(0, KEY.name, KEY.block), snapshot_steps=(STEPS,)
        )
        last = next(event.anchors for event in events if isinstance(event, Snapshot))
    return store, run_id, real, last, (opened, block, base, finetuned)


def last_value(store, run_id, name):
    steps, values = store.scalars(run_id, name, points=None)[KEY]
    assert steps[-1] == STEPS
    return values[-1]


def test_spectrum_and_alignment_are_those_of_the_anchors_and_the_real_inputs(made):
    store, run_id, real, anchors, _ = made
    steps, spectra = store.snapshots(run_id, "spectrum")[KEY]
    assert steps.tolist() == list(spaced_steps(STEPS))
    spectrum = decomposed(anchors)[0]
    assert spectra[-1] == pytest.approx(spectrum.numpy(), rel=1e-4, abs=1e-6)
    assert last_value(store, run_id, "effective_rank") == pytest.approx(effective_rank(spectrum), rel=1e-4)
    assert last_value(store, run_id, "tail_energy") == pytest.approx(tail_energy(spectrum, 16), rel=1e-4)
    assert last_value(store, run_id, "similarity") == pytest.approx(similarity(anchors, real), rel=1e-4)
    by_share = store.snapshots(run_id, "similarity_by_share")[KEY][1][-1]
    assert by_share.shape == (50,) and by_share[9] == pytest.approx(similarity(anchors, real, 0.2), rel=1e-4)
    assert by_share[24] == pytest.approx(similarity(anchors, real, 0.5), rel=1e-4)
    assert by_share[-1] == pytest.approx(1, abs=1e-5)
    angles = store.snapshots(run_id, "angles")[KEY][1][-1]
    assert angles == pytest.approx(principal_angles(top_directions(anchors), top_directions(real)).numpy(), rel=1e-3)


def test_projection_energy_is_that_of_the_anchors_on_the_cone_of_real_batches(made):
    store, run_id, real, anchors, (opened, block, base, finetuned) = made
    adaptation = adapt_settings(opened.zoo)
    *batches, held_out = (real[start :: measures.CONE + 1] for start in range(measures.CONE + 1))
    merged = {
        name: tensor + 0.3 * sum(block.of(w)[name] - tensor for w in opened.tasks.values())
        for name, tensor in base.items()
    }
    for name, parameters in (("projection_energy", base), ("projection_energy_merged", merged)):
        cone = induced_cone(block, parameters, finetuned, batches, adaptation)
        expected = projection_energy(cone, induced_update(block, parameters, finetuned, anchors, adaptation))
        assert last_value(store, run_id, name) == pytest.approx(expected, rel=1e-3)
        steps, values = store.scalars(run_id, f"{name}_real")[KEY]
        update = induced_update(block, parameters, finetuned, held_out, adaptation)
        assert steps.tolist() == [0] and values[0] == pytest.approx(projection_energy(cone, update), rel=1e-3)


def test_cosines_are_one_a_live_tensor_and_their_mean_is_the_loss(made):
    store, run_id, *_ = made
    names = [name for name in store.scalar_names(run_id) if name.startswith("cosine/")]
    assert "cosine/mlp.c_fc.weight" in names
    at_start = [store.scalars(run_id, name, points=None)[KEY] for name in names]
    loss = store.scalars(run_id, "angle_loss", points=None)[KEY][1][0]
    assert 1 - np.mean([values[0] for _, values in at_start]) == pytest.approx(loss, rel=1e-4)
    assert all(steps[-1] == STEPS for steps, _ in at_start)


def test_pages_find_the_neighbours_and_the_samples_themselves(made, tiny_zoo):
    store, run_id, real, *_ = made
    found = read_neighbours(store, run_id, KEY.name, KEY.block)
    assert found.step == STEPS and found.anchors.shape == (4, 2) and found.real.shape == (len(real), 2)
    assert (np.diff(found.cosines, axis=1) <= 1e-6).all() and found.nearest.max() < len(real)
    samples = read_samples(store.run_dir(run_id), KEY.name)
    assert len(samples.indices) == len(real) == len(samples.images) and samples.images.dtype == np.uint8
    told = json.loads((store.run_dir(run_id) / "real" / "bright.json").read_text())
    split = load_split(load_zoo(tiny_zoo).task("bright"), "train", lambda image: image)
    assert told["labels"] == split.dataset[told["places"]]["label"]


def test_recording_changes_no_anchor(made, tiny_zoo, monkeypatch, fda_home):
    store, run_id, *_ = made
    monkeypatch.setattr(measures.Measures, "at", lambda unit, _: UnitUpdate(unit.key))
    bare = Store(fda_home)
    spec = make_spec(tiny_zoo, construct=store.run(run_id).spec.construction, device="cpu")
    other = bare.create_run(spec)
    execute(bare, other, NEVER)
    one, two = (
        anchors_file(s.run_dir(r), KEY.name, KEY.block).read_bytes() for s, r in ((store, run_id), (bare, other))
    )
    assert one == two
    assert not bare.snapshots(other, "spectrum")


def test_a_cone_that_would_not_fit_is_left_out_and_all_else_recorded(tiny_zoo, fda_home, monkeypatch):
    monkeypatch.setattr(measures, "MOST_CONE_BYTES", 1000)
    store = Store(fda_home)
    spec = make_spec(tiny_zoo, tasks=("red",), blocks=(0,), construct=construct_settings("fast", steps=2), device="cpu")
    run_id = store.create_run(spec)
    execute(store, run_id, NEVER)
    assert "projection_energy" not in store.scalar_names(run_id) and "similarity" in store.scalar_names(run_id)


def test_thumbnails_keep_small_images_and_fit_others_into_a_square():
    small = [Image.new("RGB", (20, 30), (value, value, value)) for value in (3, 250)]
    assert real_samples.thumbnails(small)[:, 0, 0, 0].tolist() == [3, 250]
    assert real_samples.thumbnails(small).shape == (2, 30, 20, 3)
    assert real_samples.thumbnails([*small, Image.new("RGB", (300, 100), "red")]).shape == (3, 64, 64, 3)


def test_a_unit_that_ends_early_is_done_and_its_last_anchors_are_measured(tiny_zoo, fda_home):
    store = Store(fda_home)
    settings = construct_settings("fast", steps=400, anchors=4, learning_rate=1e-12, arithmetic="plain")
    run_id = store.create_run(make_spec(tiny_zoo, construct=settings, device="cpu", tasks=(KEY.name,), blocks=(1,)))
    execute(store, run_id, NEVER)
    (unit,) = store.units(run_id, "construct")
    assert (unit.state, unit.step, unit.steps) == ("done", 100, 400)
    steps, losses = store.scalars(run_id, "angle_loss", points=None)[KEY]
    assert steps.tolist() == list(range(100)) and unit.loss == pytest.approx(losses.min(), rel=1e-4)
    measured = store.snapshots(run_id, "spectrum")[KEY][0].tolist()
    assert measured[-1] == 400 and measured[-2] < 100
    assert anchors_file(store.run_dir(run_id), KEY.name, KEY.block).is_file()

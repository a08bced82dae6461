"""Published anchors as a run: those of a run of ours, written as the authors publish theirs, come back as they were."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from fda.cancel import NEVER
from fda.errors import UserError
from fda.report.anchors import init_of, known_settings, read_unit, units_of
from fda.report.command import run_commands
from fda.report.table import comparison
from fda.requests.published import published_spec, task_folders, told_by_name, told_by_text
from fda.requests.runs import construct_settings, make_spec
from fda.stages.execute import execute
from fda.store.spec import RunSpec
from fda.store.store import Store, UnitKey

NAME = "gauss-anchor-4-scale-0.5-opt-6-0.01"
FOLDERS = {"red": "Red", "bright": "BrightVal"}


def carried_out(store: Store, spec: RunSpec) -> str:
    run_id = store.create_run(spec)
    execute(store, run_id, NEVER)
    store.set_state(run_id, "done")
    return run_id


@pytest.fixture
def own(fda_home, tiny_zoo) -> str:
    """A construct run of ours, from a Gaussian start."""
    construct = construct_settings("paper", init="gauss", sigma=0.5, steps=6, anchors=4)
    return carried_out(Store(fda_home), make_spec(tiny_zoo, construct=construct, device="cpu"))


def publish(store: Store, run_id: str, folder: Path) -> Path:
    """Its anchors as the authors name them: tokens first, layers from 1, settings in the name of the folder."""
    for task, name in FOLDERS.items():
        (folder / "ViT" / NAME / name).mkdir(parents=True)
        for block in (0, 1):
            anchors = load_file(store.run_dir(run_id) / "anchors" / task / f"{block}.safetensors")["anchors"]
            path = folder / "ViT" / NAME / name / f"dual_anchors_layer_{block + 1}.npy"
            np.save(path, anchors.transpose(0, 1).numpy())
    return folder


def test_anchors_that_were_published_come_back_as_a_run(fda_home, own, tiny_zoo, tmp_path):
    store = Store(fda_home)
    folder = publish(store, own, tmp_path / "theirs")
    spec = published_spec(tiny_zoo, folder, device="cpu")
    assert spec.kind == "construct" and Path(spec.published) == folder / "ViT" / NAME
    settings = spec.construction
    assert (settings.init, settings.sigma, settings.steps, settings.learning_rate) == ("gauss", 0.5, 6, 0.01)
    assert (settings.anchors, settings.tokens) == (4, 5)
    run_id = carried_out(store, spec)
    loss = {unit.key: unit.loss for unit in store.units(own, "construct")}
    units = store.units(run_id, "construct")
    assert {unit.key for unit in units} == set(loss) and len(loss) == 4
    for unit in units:
        assert unit.state == "done" and unit.loss == pytest.approx(loss[unit.key], abs=1e-6)
        ours, theirs = (
            store.run_dir(one) / "anchors" / unit.key.name / f"{unit.key.block}.safetensors" for one in (own, run_id)
        )
        assert torch.equal(load_file(ours)["anchors"], load_file(theirs)["anchors"])
        with safe_open(ours, framework="pt") as first, safe_open(theirs, framework="pt") as second:
            one, two = first.metadata(), second.metadata()
        for name in ("base_fingerprint", "checkpoint_fingerprint", "layout", "init", "live_tensors"):
            assert one[name] == two[name]
        assert float(two["angle_loss"]) == pytest.approx(float(one["angle_loss"]), abs=1e-6)
        assert Path(two["source"]).name == f"dual_anchors_layer_{unit.key.block + 1}.npy"
        assert "seed" not in two, "whose seed they had is not known"


def test_what_a_run_records_of_its_anchors_is_recorded_of_published_ones(fda_home, own, tiny_zoo, tmp_path):
    store = Store(fda_home)
    run_id = carried_out(store, published_spec(tiny_zoo, publish(store, own, tmp_path / "theirs"), device="cpu"))
    key = UnitKey("construct", "red", 1)
    for kind in ("spectrum", "similarity_by_share", "angles", "map", "nearest"):
        steps, values = store.snapshots(run_id, kind)[key]
        _, usual = store.snapshots(own, kind)[key]
        assert steps.tolist() == [6]
        np.testing.assert_allclose(values[-1], usual[-1], atol=1e-5)
    names = set(store.scalar_names(own)) - {"angle_loss", "learning_rate"}
    for name in names:
        steps, values = store.scalars(run_id, name, points=None)[key]
        assert values[-1] == pytest.approx(store.scalars(own, name, points=None)[key][1][-1], abs=1e-5)
    assert any(name.startswith("cosine/") for name in names) and "projection_energy" in names
    assert key in units_of(store, run_id)
    assert read_unit(store, run_id, "it", "red", 1).steps == [6], "what is known of real data is of no step"
    assert init_of(store.run(run_id)) == "published gauss σ 0.5"


def test_methods_score_the_same_with_them_and_the_spec_repeats_it(fda_home, fda, own, tiny_zoo, tmp_path):
    store = Store(fda_home)
    folder = publish(store, own, tmp_path / "theirs")
    made = fda("import", folder, "--zoo", tiny_zoo, "--device", "cpu")
    assert made.returncode == 0, made.stderr
    run_id = store.runs()[0].run_id
    assert "construct red block 0: done (1 of 4) loss" in made.stderr and f"--anchors {run_id}" in made.stdout
    rows = [
        comparison("tiny", ("red", "bright"), *store.results(carried_out(store, spec)))["rows"]
        for spec in (
            make_spec(tiny_zoo, methods=("fda:ta",), anchors_run=source, device="cpu") for source in (own, run_id)
        )
    ]
    for one, two in zip(*rows, strict=True):
        assert one["accuracy"] == two["accuracy"]
    written = json.loads((store.run_dir(run_id) / "spec.json").read_text())
    again = carried_out(store, RunSpec.model_validate(written))
    for path in (store.run_dir(run_id) / "anchors").rglob("*.safetensors"):
        other = store.run_dir(again) / path.relative_to(store.run_dir(run_id))
        assert path.read_bytes() == other.read_bytes()
    (command,) = run_commands(store.run(run_id).spec)
    assert command.split()[3:5] == ["import", str(folder / "ViT" / NAME)]
    assert command.endswith("--init gauss --sigma 0.5 --steps 6")


def test_names_of_the_authors_are_understood(tmp_path):
    for name in ("Cars", "MNISTVal", "SUN397"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dual_anchors_layer_1.npy").touch()
    found = task_folders(tmp_path, ("stanford-cars", "mnist", "sun397"))
    assert {task: path.name for task, path in found.items()} == {
        "stanford-cars": "Cars",
        "mnist": "MNISTVal",
        "sun397": "SUN397",
    }
    with pytest.raises(UserError, match="Cars stands for more than one task"):
        task_folders(tmp_path, ("cars", "stanford-cars"))


GAUSS = {"init": "gauss", "sigma": "0.01", "steps": "1200", "learning_rate": "0.01"}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("init_by_gauss_random-anchor-64-scale-0.01-opt-1200-0.01", GAUSS),
        ("init_by_gauss_random_pos-anchor-64-scale-0.01-opt-1200-0.01", GAUSS),
        (
            "init_by_gauss_random-anchor-64-scale-1e-05-opt-1200-1e-05",
            GAUSS | {"sigma": "1e-05", "learning_rate": "1e-05"},
        ),
        ("init_by_gauss_random-scale-0.01-gen-200-lr-0.01-anchor-8192", GAUSS | {"steps": "200"}),
        ("init_by_gauss_random-scale-0.01-opt-200-lr-0.01-anchor-8192", GAUSS | {"steps": "200"}),
        ("init_by_gauss_random-scale-0.01-gen-200-lr-0.01", GAUSS | {"steps": "200"}),
        ("init_by_gauss_random_pos-scale-0.01-opt-1200-0.01", GAUSS),
        ("gauss-anchor-4-scale-0.5-opt-6-0.01", GAUSS | {"sigma": "0.5", "steps": "6"}),
        (
            "init_by_weights-anchor-64-scale-1.0-opt-1200-0.01",
            {"init": "weight", "steps": "1200", "learning_rate": "0.01"},
        ),
        (
            "init_by_weights_pos-anchor-64-scale-1.0-opt-9-0.01",
            {"init": "weight", "steps": "9", "learning_rate": "0.01"},
        ),
        ("init_by_params-scale-0.01-gen-9-lr-0.01-anchor-8", {"init": "weight", "steps": "9", "learning_rate": "0.01"}),
        ("init_by_moon-anchor-64-scale-0.01-opt-9-0.01", {"steps": "9", "learning_rate": "0.01"}),
        ("random_weights-anchor-64-scale-0.01-opt-9-0.01", {"steps": "9", "learning_rate": "0.01"}),
        ("init_by_gauss_random-anchor-64-scale--1-opt-9-0.01", {}),
        ("init_by_gauss_random-anchor-64", {}),
        ("anchors", {}),
    ],
)
def test_a_folder_of_the_official_scripts_tells_its_settings(name, told):
    assert told_by_name(name) == told


def test_the_text_of_the_official_scripts_tells_the_distance_and_what_a_renamed_folder_hides(tmp_path):
    lines = (
        "[Model]  arch: ViT-B-32 | init params: pretrained | device=cuda |seed=0",
        "[FDA settings]   anchor_num: 64 | token_num: 50 | init: init_by_gauss_random | scale=0.5",
        "[Construction]   anchor_loss=l1 | optimize_steps=800 | lr=0.01 | save_anchors=True",
    )
    assert told_by_text(tmp_path) == {}
    text = tmp_path / "construct_settings.text"
    text.write_text("\n".join(("=" * 80, *lines, "=" * 80)))
    assert told_by_text(tmp_path) == GAUSS | {"sigma": "0.5", "steps": "800", "distance": "l1"}
    text.write_text("\n".join(lines).replace("gauss_random", "weights").replace("l1", "moon"))
    assert told_by_text(tmp_path) == {"init": "weight", "steps": "800", "learning_rate": "0.01"}
    text.write_bytes(b"\xff" * 5000 + lines[2].encode())
    assert told_by_text(tmp_path) == {}


OFFICIAL = "init_by_gauss_random-anchor-4-scale-0.5-opt-6-0.01"
GENERATION = "init_by_gauss_random-scale-0.25-gen-6-lr-0.01-anchor-4"


def test_a_gauss_start_is_recorded_with_its_sigma_wherever_the_run_speaks_of_it(fda_home, own, tiny_zoo, tmp_path):
    store = Store(fda_home)
    folder = publish(store, own, tmp_path / "theirs")
    (folder / "ViT" / NAME).rename(folder / "ViT" / OFFICIAL)
    (folder / "ViT" / OFFICIAL / "construct_settings.text").write_text("anchor_loss=mse | optimize_steps=9 | lr=0.5 \n")
    run_id = carried_out(store, published_spec(tiny_zoo, folder, device="cpu"))
    spec = RunSpec.model_validate_json((store.run_dir(run_id) / "spec.json").read_text())
    assert (spec.construction.init, spec.construction.sigma, spec.unknown) == ("gauss", 0.5, ())
    assert (spec.construction.distance, spec.construction.steps) == ("mse", 6), "the name goes before the text"
    assert init_of(store.run(run_id)) == "published gauss σ 0.5"
    with safe_open(store.run_dir(run_id) / "anchors" / "red" / "0.safetensors", framework="pt") as file:
        assert file.metadata()["init"] == "gauss"


def test_what_a_folder_does_not_tell_is_called_unknown(fda_home, fda, own, tiny_zoo, tmp_path):
    store = Store(fda_home)
    folder = publish(store, own, tmp_path / "theirs")
    (folder / "ViT" / NAME).rename(folder / "ViT" / "anchors")
    done = fda("import", folder, "--zoo", tiny_zoo, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert (
        "note: the folder's name does not tell init and steps, which are recorded as unknown: say them with --init, --steps.\n"
        in done.stderr
    )
    run = store.runs()[0]
    assert run.spec.unknown == ("init", "steps") and init_of(run) == "published, init unknown"
    assert known_settings(run.spec) == {"init": "unknown", "steps": "unknown", "anchors": 4, "tokens": 5}
    (command,) = run_commands(run.spec)
    assert "--init" not in command and "--steps" not in command and "weight" not in command
    with safe_open(store.run_dir(run.run_id) / "anchors" / "red" / "0.safetensors", framework="pt") as file:
        assert file.metadata()["init"] == "unknown"
    told = published_spec(tiny_zoo, folder, init="gauss", steps=7)
    assert told.unknown == ("sigma",) and (told.construction.init, told.construction.steps) == ("gauss", 7)
    with pytest.raises(UserError, match="sigma is the scale of the gauss start: add --init gauss"):
        published_spec(tiny_zoo, folder, sigma=0.1)


def test_folders_of_language_generation_have_the_task_above_the_settings(fda_home, own, tiny_zoo, tmp_path):
    publish(Store(fda_home), own, tmp_path / "theirs")
    root = tmp_path / "dual_anchors"
    for task in ("Red", "BrightVal"):
        for name in (GENERATION, GENERATION.replace("gauss_random", "weights")):
            copied(tmp_path / "theirs" / "ViT" / NAME / task, root / task / name)
    with pytest.raises(
        UserError, match="holds several sets of anchors .*gauss_random.*weights.*: give the folder of one"
    ):
        published_spec(tiny_zoo, root)
    spec = published_spec(tiny_zoo, root / "Red" / GENERATION, device="cpu")
    assert (spec.construction.init, spec.construction.sigma, spec.construction.steps) == ("gauss", 0.25, 6)
    assert spec.unknown == () and spec.tasks == ("red", "bright")
    assert task_folders(Path(spec.published), spec.tasks) == {
        "red": root / "Red" / GENERATION,
        "bright": root / "BrightVal" / GENERATION,
    }
    shutil.rmtree(root / "Red" / GENERATION)
    with pytest.raises(UserError, match="has no folder of task 'red': it has BrightVal"):
        published_spec(tiny_zoo, root / "BrightVal" / GENERATION)
    for task in ("Red", "BrightVal"):
        shutil.rmtree(root / task / GENERATION, ignore_errors=True)
    spec = published_spec(tiny_zoo, root, device="cpu")
    assert (spec.construction.init, spec.unknown) == ("weight", ())
    store = Store(fda_home)
    assert {unit.state for unit in store.units(carried_out(store, spec))} == {"done"}


def test_what_does_not_fit_is_named(fda_home, own, tiny_zoo, tmp_path):
    store = Store(fda_home)
    folder = publish(store, own, tmp_path / "theirs")
    red = folder / "ViT" / NAME / "Red"
    whole = np.load(red / "dual_anchors_layer_2.npy")
    for wrong, sentence in (
        (whole[..., :-1], r"layer_2.npy holds anchors of width 15, but block 1 has 16"),
        (whole[:-1], r"layer_2.npy holds anchors of 4 tokens, but images give this model 5"),
        (whole[:, :-1], r"layer_2.npy holds 3 anchors of 5 tokens, where the first file holds 4 of 5"),
        (whole * np.nan, r"layer_2.npy holds anchors that are not finite"),
        (whole.astype(np.int32), r"layer_2.npy holds an array of int32"),
    ):
        np.save(red / "dual_anchors_layer_2.npy", wrong)
        run_id = store.create_run(published_spec(tiny_zoo, folder, tasks=("red",), device="cpu"))
        with pytest.raises(UserError, match=sentence):
            execute(store, run_id, NEVER)
        assert not (store.run_dir(run_id) / "anchors" / "red" / "1.safetensors").exists()
    (red / "dual_anchors_layer_2.npy").rename(red / "dual_anchors_layer_7.npy")
    with pytest.raises(UserError, match=r"dual_anchors_layer_2.npy is missing \(there are layers 1, 7\)"):
        carried_out(store, published_spec(tiny_zoo, folder, tasks=("red",), device="cpu"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda root: (root / "ViT" / NAME / "Red").rename(root / "ViT" / NAME / "Blue"), "no folder of task 'red'"),
        (lambda root: (root / "ViT" / NAME).rename(root / "A"), None),
        (lambda root: copied(root / "ViT" / NAME, root / "ViT" / "other"), "holds several sets of anchors"),
        (lambda root: [path.unlink() for path in root.rglob("*.npy")], "holds no TASK/dual_anchors_layer_1.npy"),
        (
            lambda root: (root / "ViT" / NAME / "Red" / "dual_anchors_layer_1.npy").rename(
                root / "ViT" / NAME / "Red" / "dual_anchors_layer_0.npy"
            ),
            "counts layers from 0",
        ),
    ],
)
def test_layouts_of_folders(fda_home, own, tiny_zoo, tmp_path, change, sentence):
    folder = publish(Store(fda_home), own, tmp_path / "theirs")
    change(folder)
    if sentence is None:
        assert published_spec(tiny_zoo, folder, steps=9).construction.steps == 9
        return
    with pytest.raises(UserError, match=sentence):
        published_spec(tiny_zoo, folder)


def copied(source: Path, target: Path) -> None:
    for path in source.rglob("*.npy"):
        other = target / path.relative_to(source)
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_bytes(path.read_bytes())


def test_a_wrong_request_is_one_line(fda, tiny_zoo, tmp_path):
    for words, says in (
        ((tmp_path / "nowhere",), "nowhere is no folder"),
        ((tmp_path, "--tasks", "rde"), "did you mean red"),
    ):
        done = fda("import", *words, "--zoo", tiny_zoo)
        assert done.returncode == 2 and says in done.stderr and len(done.stderr.splitlines()) == 1

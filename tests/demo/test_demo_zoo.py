"""The embedded demo zoo is whole: data, models and heads fit together, and its splits are apart."""

import json
from functools import cache
from pathlib import Path

import datasets
import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file

from fda.demo.images import SPLITS, TASKS, CropPlan, crops, photos
from fda.home import ASSETS
from fda.zoos.zoo import Zoo, load_zoo

DEMO = ASSETS / "demo"
MODEL_FILE = "open_clip_model.safetensors"
BLOCKS = "visual.transformer.resblocks."
NAMES = load_zoo("demo").task_names


@cache
def zoo() -> Zoo:
    return load_zoo("demo")


@pytest.fixture
def load_split(tmp_path: Path):
    datasets.disable_progress_bars()

    def load(task: str, split: str) -> datasets.Dataset:
        return datasets.load_dataset(zoo().task(task).data.path, split=split, cache_dir=str(tmp_path))

    return load


def test_the_zoo_names_at_least_five_tasks_and_says_what_each_is():
    assert zoo().name == "demo"
    assert len(NAMES) >= 5
    assert all(task.title and task.description for task in zoo().tasks)


def test_the_builder_draws_the_tasks_the_zoo_has_in_its_order_with_its_classes_and_labels(load_split):
    tasks = [make(0) for make in TASKS]
    assert tuple(task.name for task in tasks) == NAMES
    for task in tasks:
        written = load_split(task.name, "test")
        assert tuple(written.features["label"].names) == task.classes
        assert written["label"][:] == task.splits["test"].labels


def test_everything_is_small_enough_to_be_committed():
    assert sum(path.stat().st_size for path in DEMO.rglob("*") if path.is_file()) <= 26 * 2**20


@pytest.mark.parametrize("name", NAMES)
def test_splits_load_as_pictures_with_named_classes_and_share_none(name, load_split):
    pictures: dict[str, set[bytes]] = {}
    for split in SPLITS:
        data = load_split(name, split)
        assert isinstance(data.features["label"], datasets.ClassLabel)
        assert set(data["label"]) == set(range(data.features["label"].num_classes)), "every class is in every split"
        assert data[0]["image"].size == (32, 32) and data[0]["image"].mode == "RGB"
        raw = data.cast_column("image", datasets.Image(decode=False))
        pictures[split] = {row["bytes"] for row in raw["image"]}
    assert not pictures["test"] & (pictures["train"] | pictures["validation"])
    assert not pictures["train"] & pictures["validation"]


@pytest.mark.parametrize("name", NAMES)
def test_a_finetuned_model_differs_from_the_pretrained_one_in_every_block_tensor_and_nowhere_else(name):
    base = load_file(Path(zoo().base.model) / MODEL_FILE)
    tuned = load_file(Path(zoo().task(name).model) / MODEL_FILE)
    assert base.keys() == tuned.keys()
    changed = {key for key in base if not torch.equal(base[key], tuned[key])}
    assert changed == {key for key in base if key.startswith(BLOCKS)}
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in tuned.values())


@pytest.mark.parametrize("name", ["pretrained", *NAMES])
def test_open_clip_builds_every_model_folder(name):
    folder = DEMO / "models" / name
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    config = json.loads((folder / "open_clip_config.json").read_text())
    expected = load_file(folder / MODEL_FILE)["visual.proj"]
    assert torch.equal(model.visual.proj, expected)
    assert list(preprocess.transforms[-1].mean) == config["preprocess_cfg"]["mean"]


@pytest.mark.parametrize("name", NAMES)
def test_a_head_fits_the_features_and_the_classes(name, load_split):
    head = load_file(zoo().task(name).head)
    config = json.loads((Path(zoo().base.model) / "open_clip_config.json").read_text())
    classes = load_split(name, "test").features["label"].num_classes
    assert head["weight"].shape == (classes, config["model_cfg"]["embed_dim"])
    assert head["logit_scale"].ndim == 0


def test_crops_of_one_picture_never_overlap_between_splits():
    plan = CropPlan(cell=40, smallest=32, per_class={"train": 60, "validation": 30, "test": 60}, turn=False)
    y, x = np.mgrid[:200, :240]
    position = np.stack([y, x, np.zeros_like(x)], axis=-1).astype(np.uint8)  # every pixel tells where it lies
    cut = crops(position, plan, np.random.default_rng(0))
    cells = {
        split: {tuple(np.asarray(image)[16, 16, :2] // plan.cell) for image in images} for split, images in cut.items()
    }
    assert not cells["train"] & cells["test"]
    assert not cells["validation"] & (cells["train"] | cells["test"])


def test_the_same_seed_draws_the_same_pictures():
    first, again, other = photos(3), photos(3), photos(4)
    assert [i.tobytes() for i in first.splits["test"].images] == [i.tobytes() for i in again.splits["test"].images]
    assert [i.tobytes() for i in first.splits["test"].images] != [i.tobytes() for i in other.splits["test"].images]

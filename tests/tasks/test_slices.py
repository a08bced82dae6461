"""Parts of a split: of samples that lie sorted by class each part has all classes, and parts do not overlap."""

import datasets
import pytest

from fda.architectures.transforms import TextTransform
from fda.errors import UserError
from fda.tasks.data import load_split
from fda.tasks.slices import split_names
from fda.zoos.zoo import TaskData, ZooTask, list_zoos, load_zoo

CLASSES = 4


@pytest.fixture
def sorted_data(tmp_path):
    """200 samples in train and 40 in test, the classes one after the other; the number of a sample is its text."""
    for split, count, first in (("train", 200, 0), ("test", 40, 200)):
        numbers = range(count)
        rows = {"text": [str(first + n) for n in numbers], "label": [n * CLASSES // count for n in numbers]}
        datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "data" / f"{split}.parquet")
    return tmp_path / "data"


def part(path, split: str, **changes):
    data = TaskData(path=str(path), input="text", label="label", **changes)
    task = ZooTask(name="one", model="model", data=data)
    return load_split(task, split, TextTransform(None, 8, 0, "", False))


def numbers(split) -> list[int]:
    return [int(text) for text in split.texts("text", range(len(split)))]


def test_the_parts_of_a_split_are_all_of_it_and_each_has_all_classes(sorted_data):
    small, large = part(sorted_data, "train[90%:]"), part(sorted_data, "train[:90%]")
    assert (len(small), len(large)) == (20, 180)
    assert sorted(numbers(small) + numbers(large)) == list(range(200))
    assert set(small.labels().tolist()) == set(large.labels().tolist()) == set(range(CLASSES))
    assert numbers(small) == sorted(numbers(small)), "they come as they lie"


def test_a_part_is_the_same_again_and_another_with_another_seed(sorted_data):
    one, again = part(sorted_data, "train[90%:]"), part(sorted_data, "train[90%:]")
    assert numbers(one) == numbers(again) and one.fingerprint == again.fingerprint
    other = part(sorted_data, "train[90%:]", seed=1)
    assert numbers(one) != numbers(other) and one.fingerprint != other.fingerprint


def test_parts_are_cut_from_a_file_too_and_may_be_put_together(sorted_data):
    assert numbers(part(sorted_data / "train.parquet", "train[:5]")) == numbers(part(sorted_data, "train[:5]"))
    both = numbers(part(sorted_data, "train[:5] + test"))
    assert both[:5] == numbers(part(sorted_data, "train[:5]")) and both[5:] == list(range(200, 240))
    assert split_names("train[:5] + test") == ("train", "test")


@pytest.mark.parametrize(("split", "says"), [("train[a:]", "cannot be cut"), ("none[:5]", "could not be loaded")])
def test_what_cannot_be_cut_is_said(sorted_data, split, says):
    with pytest.raises(UserError, match=says):
        part(sorted_data, split)


@pytest.mark.parametrize("name", [name for name in list_zoos() if name.startswith(("clip", "roberta"))])
def test_the_presets_name_a_validation_split_that_is_not_trained_on(name):
    for task in load_zoo(name).tasks:
        assert (task.data.validation_split, task.data.train_split) == ("train[90%:]", "train[:90%]")

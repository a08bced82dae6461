"""Keys of a zoo file that would silently do nothing are refused, with the file and the field."""

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from fda.cli import app as cli
from fda.errors import UserError
from fda.tasks.heads import load_head
from fda.zoos.zoo import ZooTask, list_zoos, load_zoo


def written(tiny_zoo: Path, folder: Path, **changes: object) -> Path:
    """The tiny zoo's file with other values, by their places: `tasks.0.data.seed` and so on."""
    content = yaml.safe_load(tiny_zoo.read_text())
    for task in (content["base"], *content["tasks"]):
        task["model"] = str(tiny_zoo.parent / task["model"])
    for task in content["tasks"]:
        task["head"] = str(tiny_zoo.parent / task["head"])
        task["data"]["path"] = str(tiny_zoo.parent / task["data"]["path"])
    for place, value in changes.items():
        *way, last = place.split(".")
        inner = content
        for step in way:
            inner = inner[int(step) if step.isdigit() else step]
        inner[last] = value
    path = folder / "zoo.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("tasks.0.data.seed", 3, "the field `tasks.0.data.seed` draws nothing: give `samples`, or a part of a split"),
        ("tasks.0.data.metric", "perplexity", "the field `tasks.0.data.label` is not read, as perplexity needs none"),
        (
            "tasks.1.head",
            {"zero_shot": {"classes": ["no", "yes"], "templates": ["a photo of a {}.", "a photo"]}},
            "the field `tasks.1.head.zero_shot.templates` has 'a photo', where no class name goes in",
        ),
        (
            "adapt",
            {"weight_lr": 0.1},
            "the field `adapt.weight_lr` is no adaptation setting: there are distance, weights_lr",
        ),
        (
            "adapt",
            {"epochs": 3, "weights_epochs": 4, "coefficients_epochs": 5},
            "the field `adapt.epochs` stands for weights_epochs and coefficients_epochs, which are there too",
        ),
        ("tasks.0.date", {}, "the field `tasks.0.date` is not one a zoo has"),
        ("tasks.0.data.spilt", "test", "the field `tasks.0.data.spilt` is not one a zoo has"),
        ("base.precision", "fp16", "the field `base.precision` is not one a zoo has"),
        ("familly", "vision", "the field `familly` is not one a zoo has"),
    ],
)
def test_a_key_without_effect_is_refused(tiny_zoo, tmp_path, place, value, sentence):
    path = written(tiny_zoo, tmp_path, **{place: value})
    with pytest.raises(UserError) as caught:
        load_zoo(path)
    assert str(caught.value).startswith(f"{path}: {sentence}") and str(caught.value).endswith(".")


def test_what_has_an_effect_is_taken(tiny_zoo, tmp_path):
    changes = {"tasks.0.data.samples": 3, "tasks.0.data.seed": 3, "adapt": {"epochs": 3, "weights_epochs": 4}}
    assert load_zoo(written(tiny_zoo, tmp_path, **changes)).tasks[0].data.seed == 3
    changes = {"tasks.0.data.seed": 3, "tasks.0.data.validation_split": "train[90%:]"}
    assert load_zoo(written(tiny_zoo, tmp_path, **changes)).tasks[0].data.seed == 3


@pytest.mark.parametrize("name", list_zoos())
def test_the_shipped_zoos_have_no_such_key(name):
    assert load_zoo(name).name == name


def test_a_key_that_is_there_twice_is_named_with_its_line(tiny_zoo, tmp_path):
    path = written(tiny_zoo, tmp_path)
    lines = path.read_text().splitlines()
    place = next(number for number, line in enumerate(lines) if line.strip().startswith("split:"))
    path.write_text("\n".join([*lines[: place + 1], lines[place].replace("test", "train"), *lines[place + 1 :]]))
    with pytest.raises(UserError) as caught:
        load_zoo(path)
    assert str(caught.value) == f"{path} (line {place + 2}) has the key `split` twice in one place: leave one out."


def test_a_table_has_no_configurations(tiny_zoo, tmp_path):
    table = tiny_zoo.parent / load_zoo(tiny_zoo).tasks[0].data.path / "test.parquet"
    path = written(tiny_zoo, tmp_path, **{"tasks.0.data.path": str(table), "tasks.0.data.name": "plain"})
    with pytest.raises(UserError, match="data.name: .*test.parquet is a file, which has no configurations"):
        load_zoo(path)


def test_a_citation_that_is_not_there_is_told_by_the_check(tiny_zoo, tmp_path, fda_home):
    path = written(tiny_zoo, tmp_path, cited="fda-vit-b-61")
    with pytest.raises(UserError, match="the zoo cites 'fda-vit-b-61'.*did you mean fda-vit-b-16"):
        cli.app(["zoo", "check", str(path)], standalone_mode=False)


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"biases": torch.zeros(2)}, "holds biases too, where a head has weight, bias, logit_scale"),
        ({"bias": torch.zeros(2), "logit_scale": torch.ones(())}, "a head with `logit_scale` has no `bias`"),
    ],
)
def test_tensors_of_a_head_file_that_would_not_be_read_are_named(tmp_path, other, sentence):
    path = tmp_path / "head.safetensors"
    save_file({"weight": torch.zeros(2, 8)} | other, path)
    with pytest.raises(UserError) as caught:
        load_head(ZooTask(name="one", model="m", head=str(path)))
    assert sentence in str(caught.value) and str(path) in str(caught.value)

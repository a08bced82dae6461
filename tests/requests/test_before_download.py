"""What would end a run is told from listings, configs and headers: of heads, tokenizers and data, before any weight comes."""

import csv
import json
import shutil

import datasets
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from fda.checkpoints.readers.open import open_weights
from fda.requests.needs import run_bytes, tensor_bytes
from fda.requests.preview import preview
from fda.tasks import data_seen
from fda.zoos.hub import Unreached
from fda.zoos.kinds import open_model
from fda.zoos.survey import fit_base
from fda.zoos.zoo import load_zoo
from tests.support.library_zoos import clip_zoo, image_zoo, text_zoo

ZERO_SHOT = {"zero_shot": {"classes": ["red cat", "old dog"], "templates": ["a {}"]}}
CARD = """---
dataset_info:
  config_name: cola
  features:
  - name: sentence
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': unacceptable
          '1': acceptable
  splits:
  - name: train
    num_bytes: 900
    num_examples: 24
  - name: validation
    num_bytes: 900
    num_examples: 24
  download_size: 4000000
  dataset_size: 9000000
configs:
- config_name: cola
  data_files:
  - split: train
    path: cola/train-*
  - split: validation
    path: cola/validation-*
---
"""


def changed(path, *, task=None, data=None):
    """The zoo with other fields of its first task, or of that task's data."""
    content = yaml.safe_load(path.read_text())
    content["tasks"][0] |= task or {}
    content["tasks"][0]["data"] |= data or {}
    path.write_text(yaml.safe_dump(content))
    return path


def problem(path) -> str:
    (found,) = preview(load_zoo(path)).problems
    return found


@pytest.fixture
def texts(tmp_path):
    return text_zoo(tmp_path / "zoo", "roberta")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (
            {"input": "sentences"},
            "has no column 'sentences' (`data.input`): the nearest is 'sentence'; it has sentence, sec",
        ),
        ({"label": "klass"}, "has no column 'klass' (`data.label`): it has"),
        ({"split": "tests"}, "has no split 'tests' (`data.split`): the nearest is 'test'; it has"),
        ({"validation_split": "dev[:50%]"}, "has no split 'dev' (`data.validation_split`)"),
        ({"name": "cola"}, "BuilderConfig 'cola' not found"),
        ({"path": "data/first/test.csv", "input": "sentences"}, "test.csv has no column 'sentences'"),
    ],
)
def test_columns_and_splits_that_data_lack_are_named_with_the_nearest(texts, data, says):
    found = problem(changed(texts, data=data))
    assert says in found and found.startswith("task 'first'")


def test_images_have_the_columns_that_lie_beside_them(tmp_path):
    path = image_zoo(tmp_path, "vit")
    assert not preview(load_zoo(path)).problems
    assert "has no column 'class' (`data.label`): it has image, label" in problem(
        changed(path, data={"label": "class"})
    )


@pytest.mark.parametrize("kept", [(), ("tokenizer_config.json",)])
def test_a_base_without_a_whole_tokenizer_is_told(texts, kept):
    for name in {"tokenizer.json", "tokenizer_config.json"} - set(kept):
        (texts.parent / "base" / name).unlink()
    assert "tokenizer" in problem(texts) and str(texts.parent / "base") in problem(texts)


def test_a_task_without_a_head_is_told_by_its_class(texts):
    shutil.rmtree(texts.parent / "first")
    shutil.copytree(texts.parent / "base", texts.parent / "first")
    assert "is saved as RobertaModel, which has no head of its own" in problem(texts)


def test_a_head_whose_tensors_are_missing_is_told(texts):
    file = texts.parent / "first" / "model.safetensors"
    save_file({name: one for name, one in load_file(file).items() if name != "classifier.dense.weight"}, file)
    assert "has no tensor classifier.dense.weight" in problem(texts)


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"w": torch.zeros(2)}, "is not a head: it needs a tensor `weight`"),
        ({"weight": torch.zeros(2, 15)}, "is made for 15 features, but the model gives 16"),
        ({"weight": torch.zeros(1, 2, 16)}, "is not a head: it needs a tensor `weight`"),
    ],
)
def test_a_head_file_that_does_not_fit_is_told(texts, tensors, says):
    save_file(tensors, texts.parent / "head.safetensors")
    assert says in problem(changed(texts, task={"head": "head.safetensors"}))


def test_a_head_with_fewer_rows_than_the_data_have_classes_is_told(texts):
    save_file({"weight": torch.zeros(3, 16)}, texts.parent / "head.safetensors")
    rows = texts.parent / "data" / "first" / "test.csv"
    lines = rows.read_text().splitlines()
    lines[5] = "red,dog,4,cat"
    rows.write_text("\n".join(lines))
    changed(texts, task={"head": "head.safetensors"})
    assert "the data have 5 classes in 'label', but the head answers 3" in problem(texts)


def test_classes_that_a_table_names_are_held_against_the_checkpoints_own_head(texts):
    folder = texts.parent / "data" / "first"
    features = datasets.Features(
        {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b", "c"])}
    )
    shutil.rmtree(folder)
    for split in ("train", "test"):
        rows = datasets.Dataset.from_dict({"sentence": ["red"] * 4, "label": [0, 1, 0, 1]}, features=features)
        rows.to_parquet(folder / f"{split}.parquet")
    assert "the data have 3 classes in 'label', but the head answers 2" in problem(texts)


def test_a_zero_shot_head_needs_a_clip_model_with_its_tokenizer(texts, tmp_path):
    assert "has no text tower, which a zero-shot head needs" in problem(changed(texts, task={"head": ZERO_SHOT}))
    path = clip_zoo(tmp_path / "clip")
    assert not preview(load_zoo(path)).problems
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "clip" / "base" / name).unlink()
    assert all("cannot read the tokenizer" in one for one in preview(load_zoo(path)).problems)


def test_a_hub_that_does_not_answer_for_data_hinders_no_merging(texts, monkeypatch):
    def silent(*args):
        raise Unreached("the hub is silent")

    monkeypatch.setattr(data_seen, "_builder", silent)
    found = preview(load_zoo(texts))
    assert not found.problems and found.notes == ("the hub is silent",)


def test_disk_is_that_of_a_file_for_every_method_that_is_compared(texts):
    zoo = load_zoo(texts)
    model = open_model(zoo)
    base = fit_base(model, open_weights(zoo.base.model))
    size = sum(tensor.numel() * 4 for tensor in load_file(texts.parent / "base" / "model.safetensors").values())
    assert tensor_bytes(base) == size
    assert run_bytes(zoo, model, base) - run_bytes(zoo, model, None) == 7 * size
    assert preview(zoo).disk_bytes == run_bytes(zoo, model, base)


@pytest.fixture(scope="module")
def repositories(tmp_path_factory):
    """`root` of a hub with a tiny RoBERTa, its tasks, and the data set org/glue; and the path of a zoo of these ids."""
    folder = tmp_path_factory.mktemp("served")
    path = text_zoo(folder / "made", "roberta")
    content = yaml.safe_load(path.read_text())
    content["base"]["model"] = "org/base"
    for task in content["tasks"]:
        task["model"] = f"org/{task['name']}"
        task["data"] = {
            "path": "org/glue",
            "name": "cola",
            "split": "validation",
            "input": "sentence",
            "label": "label",
        }
        task["data"] |= {"validation_split": "train[90%:]", "train_split": "train[:90%]"}
    for name in ("base", "first", "second"):
        shutil.copytree(folder / "made" / name, folder / "root" / "org" / name)
    path.write_text(yaml.safe_dump(content))
    glue = folder / "root" / "datasets" / "org" / "glue"
    with (folder / "made" / "data" / "first" / "test.csv").open() as file:
        rows = list(csv.DictReader(file))
    features = {
        "sentence": datasets.Value("string"),
        "label": datasets.ClassLabel(names=["unacceptable", "acceptable"]),
    }
    values = {"sentence": [row["sentence"] for row in rows], "label": [int(row["label"]) for row in rows]}
    for split in ("train", "validation"):
        table = datasets.Dataset.from_dict(values, features=datasets.Features(features))
        table.to_parquet(glue / "cola" / f"{split}-00000-of-00001.parquet")
    (glue / "README.md").write_text(CARD)
    bare = folder / "root" / "datasets" / "org" / "bare"
    shutil.copytree(glue, bare)
    (bare / "README.md").write_text(CARD.replace(CARD[4 : CARD.index("configs:")], ""))
    return folder / "root", path


def test_all_that_is_wrong_on_the_hub_is_told_before_a_weight_or_a_sample_comes(fda, hub, repositories, tmp_path):
    root, path = repositories
    shutil.copytree(root, tmp_path / "root")
    (tmp_path / "root" / "org" / "base" / "tokenizer.json").unlink()
    shutil.rmtree(tmp_path / "root" / "org" / "first")
    shutil.copytree(tmp_path / "root" / "org" / "base", tmp_path / "root" / "org" / "first")
    content = yaml.safe_load(path.read_text())
    content["tasks"][0]["data"] |= {"input": "sentences", "split": "test"}
    content["tasks"][1]["data"] |= {"path": "org/bare", "input": "text"}
    content["tasks"].append(content["tasks"][1] | {"name": "third", "data": {"path": "org/none", "input": "text"}})
    asked = tmp_path / "zoo.yaml"
    asked.write_text(yaml.safe_dump(content))
    hub.root = tmp_path / "root"
    done = fda("zoo", "check", asked, "--headers", "--json")
    found = json.loads(done.stdout)["problems"]
    for text in (
        "task 'first': org/glue has no split 'test' (`data.split`): it has train, validation",
        "task 'first': org/glue has no column 'sentences' (`data.input`): the nearest is 'sentence'; it has sentence, label",
        "task 'second': org/bare has no column 'text' (`data.input`): it has sentence, label",
        "task 'third': the data set org/none is not on the hub",
        "cannot read the tokenizer",
        "is saved as RobertaModel, which has no head of its own",
    ):
        assert any(text in problem for problem in found), (text, found)
    assert len(found) == 6
    assert all(part for verb, _, part, _ in hub.asked.of_weights() if verb == "GET"), "range requests only"
    tables = [(part, sent) for verb, name, part, sent in hub.asked if verb == "GET" and name.endswith(".parquet")]
    assert tables and all(part for part, _ in tables), "of a data set without a description the end of a table alone"


def test_words_that_the_hubs_tokenizers_number_otherwise_are_noted(fda, hub, repositories, tmp_path):
    root, path = repositories
    shutil.copytree(root, tmp_path / "root")
    file = tmp_path / "root" / "org" / "first" / "tokenizer.json"
    content = json.loads((root / "org" / "base" / "tokenizer.json").read_text())
    words = content["model"]["vocab"]
    words["red"], words["dog"] = words["dog"], words["red"]
    file.write_text(json.dumps(content))
    hub.root = tmp_path / "root"
    done = fda("zoo", "check", path, "--headers")
    assert done.returncode == 0 and "2 of 21 tokens have other numbers" in done.stderr


def test_data_of_a_hub_id_are_seen_downloaded_scored_and_then_need_no_network(fda, hub, repositories, tmp_path):
    _, path = repositories
    compare = ("compare", "--zoo", path, "--device", "cpu", "--json", tmp_path / "rows.json")
    done = fda("zoo", "check", path, "--headers", "--json")
    found = json.loads(done.stdout)
    assert not found["problems"] and found["data_bytes"] == 13_000_000, "once, though two tasks read it"
    assert found["disk_bytes"] > found["data_bytes"] + found["download_bytes"]
    assert not [name for _, name, _, _ in hub.asked if name.endswith(".parquet")], "its card says it all"
    done = fda(*compare, "--methods", "ta,ta:swept")
    assert done.returncode == 0, done.stderr
    assert any(name.endswith("cola/train-00000-of-00001.parquet") for _, name, _, _ in hub.asked)
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    (swept,) = (row for row in rows if row["method"] == "ta:swept")
    assert swept["settings"]["sweep"]["split"] == "validation"
    hub.asked.clear()
    done = fda.without_network(*compare, "--methods", "ta,ta:swept", "--fresh")
    assert done.returncode == 0 and not hub.asked, done.stderr
    again = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [row["accuracy"] for row in again] == [row["accuracy"] for row in rows]
    found = json.loads(fda("zoo", "check", path, "--headers", "--json").stdout)
    assert found["data_bytes"] == 0, "what is prepared needs no more room"

"""Labels and classes go by name where both sides name them; what does not belong together is never scored without a word."""

import csv
import json
from pathlib import Path
from unittest.mock import ANY

import datasets
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from fda.cli.app import app
from fda.errors import UserError
from fda.stages.check import try_out
from fda.tasks.data import load_split
from fda.tasks.label_column import label_numbers
from fda.tasks.labels import head_classes, head_numbers, labels_note
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import ZooTask, load_zoo
from tests.support.library_zoos import text_zoo

NLI = ("entailment", "neutral", "contradiction")


def test_classes_of_the_same_names_in_another_order_are_found_by_name():
    assert head_numbers(NLI, ("CONTRADICTION", "Neutral", "entailment")) == (2, 1, 0)
    assert head_numbers(("not_entailment", "entailment"), ("Entailment", "not entailment")) == (1, 0)
    assert "labels are taken by name" in labels_note(NLI, NLI[::-1])
    assert head_numbers(("0", "1", "10", "2"), tuple(map(str, range(11)))) == (0, 1, 10, 2), "folders sorted as texts"
    assert head_numbers(("entailment", "contradiction"), NLI) == (0, 2), "some classes of the head may have no samples"


@pytest.mark.parametrize(
    "data, head",
    [
        (NLI, ("Entailment", "NEUTRAL", "contradiction")),
        (NLI[:2], NLI),
        (("0", "1", "2"), NLI[::-1]),
        (NLI, ("0", "1", "2")),
        (("0", "1", "2"), ("LABEL_0", "LABEL_1", "LABEL_2")),
        (None, NLI),
        (("0", "1", "2"), None),
    ],
)
def test_the_same_order_or_no_names_leave_numbers_as_they_are(data, head):
    assert head_numbers(data, head) is None and labels_note(data, head) is None


def test_names_of_which_none_is_elsewhere_are_numbers_with_a_note():
    for head in (("yes", "perhaps", "no"), ("entailment", "neutral", "opposite"), ("yes", "no")):
        assert head_numbers(NLI, head) is None
        assert "taken by number, since names differ: the data's classes are entailment" in labels_note(NLI, head)


@pytest.mark.parametrize("head", [None, ("LABEL_0", "LABEL_1", "LABEL_2")])
def test_classes_of_a_head_without_names_are_taken_on_trust_and_it_is_noted(head):
    assert labels_note(NLI, head, 3) == (
        "labels are taken by number, since the head's 3 classes have no names: the data's classes are entailment, neutral, "
        "contradiction; make sure that the head has them in this order, or name its classes (`label2id` of the checkpoint, or "
        "`classes` in the metadata of the head file, a JSON list)."
    )
    assert labels_note(NLI, head, 1) is None, "a head of one number has no order"


def test_names_of_which_some_are_elsewhere_are_refused():
    for head in (("contradiction", "other", "entailment"), ("neutral", "entailment")):
        with pytest.raises(UserError, match="not all classes of the data .* give both the same names"):
            head_numbers(NLI, head)


def test_labels_that_are_names_are_classes_in_any_writing():
    found = label_numbers(["not_entailment", "Entailment"], "label", ("entailment", "Not entailment"), range(2))
    assert found == ([1, 0], True)
    with pytest.raises(UserError, match=r"the label 'maybe' \(row 7\) is none of the head's classes"):
        label_numbers(["maybe"], "label", NLI, [7])


def with_parquet(path: Path, names: list[str] | None) -> Path:
    """The zoo with its tables as parquet of integer labels, whose column names its classes."""
    content = yaml.safe_load(path.read_text())
    label = datasets.Value("int64") if names is None else datasets.ClassLabel(names=names)
    for task in content["tasks"]:
        folder = path.parent / task["data"]["path"]
        for table in folder.glob("*.csv"):
            rows = list(csv.DictReader(table.open()))
            columns = {"sentence": [row["sentence"] for row in rows], "label": [int(row["label"]) for row in rows]}
            features = datasets.Features({"sentence": datasets.Value("string"), "label": label})
            datasets.Dataset.from_dict(columns, features=features).to_parquet(table.with_suffix(".parquet"))
            table.unlink()
    return path


def configured(path: Path, **fields: object) -> Path:
    for task in ("first", "second"):
        file = path.parent / task / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | fields))
    return path


def classes(*names: str) -> dict[str, dict[str, object]]:
    return {
        "id2label": {str(place): name for place, name in enumerate(names)},
        "label2id": {name: place for place, name in enumerate(names)},
    }


def command(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def rows(path: Path) -> dict:
    report = path.parent / "scores.json"
    done = command("compare", "--zoo", path, "--methods", "ta", "--device", "cpu", "--fresh", "--json", report)
    assert done.exit_code == 0, done.output
    told = [line for line in done.stderr.splitlines() if "labels are taken" in line]
    assert len(told) == (2 if "labels" in json.loads(report.read_text())["rows"][0]["settings"] else 0), "once a task"
    return {row["method"]: row for row in json.loads(report.read_text())["rows"]}


def test_a_checkpoint_whose_classes_lie_the_other_way_is_scored_by_name_and_it_is_told(tmp_path):
    path = with_parquet(text_zoo(tmp_path, "roberta"), ["entailment", "contradiction"])
    plain = rows(path)["ta"]
    assert "the head's classes have no names" in plain["settings"]["labels"]["second"]
    configured(path, **classes("entailment", "contradiction"))
    assert rows(path)["ta"] == plain | {"settings": {k: v for k, v in plain["settings"].items() if k != "labels"}} | {
        key: ANY for key in ("seconds", "peak_bytes")
    }
    found = rows(configured(path, **classes("contradiction", "Entailment")))["ta"]
    assert found["accuracy"]["first"] == pytest.approx(1 - plain["accuracy"]["first"])
    assert found["settings"]["labels"]["first"].startswith(
        "labels are taken by name: the data's classes are entailment"
    )
    checked = command("zoo", "check", path)
    assert checked.exit_code == 0 and "note: task 'second': labels are taken by name" in checked.stderr


def test_kept_answers_are_those_of_the_classes_they_were_given_for(tmp_path):
    path = text_zoo(tmp_path, "bert", labels="name")
    before = rows(path)["individual"]["accuracy"]
    after = rows(configured(path, **classes("no", "yes")))["individual"]["accuracy"]
    assert after == {task: pytest.approx(1 - value) for task, value in before.items()} and after != before


def test_classes_of_a_config_that_contradicts_itself_are_refused(tmp_path):
    path = configured(text_zoo(tmp_path, "bert"), id2label={"0": "yes", "1": "no"}, label2id={"no": 0, "yes": 1})
    with pytest.raises(UserError, match=r"id2label \(yes, no\) and label2id \(no, yes\) say different things"):
        head_classes(load_zoo(path).task("first"))
    configured(path, id2label={"0": "LABEL_0", "1": "LABEL_1"})
    assert head_classes(load_zoo(path).task("first")) == ("no", "yes")


def test_a_zero_shot_head_is_asked_by_name_too(tiny_zoo):
    opened = open_zoo(load_zoo(tiny_zoo))
    task = opened.zoo.task("red")
    head = {"zero_shot": {"classes": ["Yes", "no"], "templates": ["{}"]}}
    asked = type(task).model_validate(task.model_dump() | {"head": head})
    own, named = (load_split(one, "test", opened.model.transform) for one in (task, asked))
    assert named.labels().tolist() == [1 - label for label in own.labels().tolist()]


def test_a_head_file_that_names_its_classes_is_asked_by_name(tmp_path):
    """A folder of two classes, a head of three: cat is its third class, not its second."""
    for place, name in enumerate(("ant", "cat", "cat")):
        (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (90 * place, 0, 0)).save(tmp_path / "photos" / name / f"{place}.png")
    data = {"path": str(tmp_path / "photos"), "split": "train", "input": "image"}
    task = ZooTask(name="first", model="none", head=str(tmp_path / "head.safetensors"), data=data)
    for classes_there, labels, note in (
        (
            None,
            [0, 1, 1],
            "labels are taken by number, since the head's 3 classes have no names: the data's classes are ant, cat;",
        ),
        (
            ["ant", "bee", "cat"],
            [0, 2, 2],
            "labels are taken by name: the data's classes are ant, cat, the head's ant, bee, cat.",
        ),
        (["ant", "cat", "bee"], [0, 1, 1], ""),
        (["ant", "cat"], [0, 1, 1], "labels are taken by number, since the head's 3 classes have no names"),
    ):
        metadata = None if classes_there is None else {"classes": json.dumps(classes_there)}
        save_file({"weight": torch.zeros(3, 16)}, tmp_path / "head.safetensors", metadata)
        split = load_split(task, "train", None)
        assert split.labels().tolist() == labels and (split.note or "").startswith(note)
        assert bool(split.note) == bool(note)


def test_a_label_beyond_the_head_is_found_before_a_run_and_fails_it(tmp_path):
    path = text_zoo(tmp_path, "roberta")
    for task in ("first", "second"):
        table = tmp_path / "data" / task / "test.csv"
        lines = table.read_text().splitlines()
        cells = lines[-1].split(",")
        table.write_text("\n".join([*lines[:-1], ",".join([*cells[:2], "7", cells[3]])]) + "\n")
    checked = command("zoo", "check", path)  # from the table's own labels, before any model is opened
    assert checked.exit_code != 0
    assert "task 'first': the data have 8 classes in 'label', but the head answers 2" in str(checked.exception)
    told = "the column 'label' has a class 7, but the head only 2 classes"
    with pytest.raises(
        UserError, match=f"task 'first', split 'test': {told}"
    ):  # as of data whose labels a header does not tell
        try_out(load_zoo(path))
    compared = command("compare", "--zoo", path, "--methods", "ta", "--device", "cpu")
    assert compared.exit_code == 1
    [line] = [one for one in compared.stderr.splitlines() if one.startswith("fda: the run failed: ")]
    assert f"no method could be scored: task '{line.split(chr(39))[1]}', split 'test': {told}" in line  # either task's

"""Zoos finetuned from tiny bases that their libraries saved: what is trained, saved, resumed and refused."""

import json
import sys
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from fda.cancel import Cancel
from fda.checkpoints.weights import Checkpoint
from fda.cli import app as cli
from fda.errors import UserError
from fda.stages.finetune import finetune_zoo
from fda.tasks.data import load_split
from fda.tasks.evaluate import evaluate
from fda.tasks.heads import task_head
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo
from tests.support.library_zoos import image_zoo, text_zoo
from tests.support.tiny_zoo import TASKS, make_zoo

STEPS = {"epochs": 3, "batch": 8, "learning_rate": 1e-2}


def untrained(path: Path, **finetune) -> Path:
    """The zoo file without models and heads, whose tasks are checked on the split they are trained on."""
    content = yaml.safe_load(path.read_text())
    for task in content["tasks"]:
        task.pop("model")
        task.pop("head", None)
        task["data"] |= {"train_split": "train", "validation_split": "test"}
    path.write_text(yaml.safe_dump(content | {"finetune": STEPS | finetune}, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return image_zoo(tmp_path_factory.mktemp("pictures"), "dinov2")


@pytest.fixture
def zoo(tmp_path):
    """An open_clip zoo of two tasks."""
    return untrained(make_zoo(tmp_path))


def curve(folder: Path) -> list[dict]:
    return json.loads((folder / "finetune.json").read_text())["curve"]


def changed(opened, task: str) -> set[str]:
    return {name for name in opened.base if not torch.equal(opened.base[name], opened.tasks[task][name])}


@pytest.mark.parametrize(
    ("trained", "head"), [("blocks", "means"), ("all", "probe"), ("blocks", "trained"), ("lora", "means")]
)
@pytest.mark.filterwarnings("ignore:.*tie_word_embeddings")
def test_what_is_trained_changes_and_is_read_as_it_was_scored(trained, head, pictures, tmp_path):
    content = pictures.read_text().replace("model: base", f"model: {pictures.parent / 'base'}")
    file = tmp_path / "zoo.yaml"
    file.write_text(content.replace("path: data", f"path: {pictures.parent}/data"))
    untrained(file, trained=trained, head=head)
    if trained == "lora":
        pytest.importorskip("peft", reason="peft is installed from tests/requirements-no-deps.txt")
    (done, _) = finetune_zoo(file)
    opened = open_zoo(load_zoo(file))
    blocks = tuple(block.prefix for block in opened.model.blocks)
    inside = {name for name in changed(opened, done.task) if name.startswith(blocks)}
    outside = changed(opened, done.task) - inside
    assert inside and (bool(outside) == (trained == "all"))
    weight = next(name for name in sorted(inside) if opened.base.header[name].shape == (16, 16))
    rank = torch.linalg.matrix_rank(opened.tasks[done.task][weight] - opened.base[weight])
    assert (rank <= 8) == (trained == "lora")

    task, points = opened.zoo.task(done.task), curve(done.folder)
    opened.model.load(opened.tasks[done.task])
    split = load_split(task, "test", opened.model.transform)
    answers = evaluate(opened.model, task_head(opened, done.task), split)
    assert (answers.predicted == answers.label).mean() == points[-1]["score"]
    assert [point["number"] for point in points] == [0, 1, 2, 3]
    assert head == "probe" or points[-1]["loss"] < points[1]["loss"]  # a probe answers these right from the beginning


def test_a_head_is_frozen_or_trained(zoo, tmp_path):
    heads = {}
    for head in ("means", "trained"):
        content = yaml.safe_load(zoo.read_text())
        for task in content["tasks"]:
            task.pop("model", None), task.pop("head", None)
        zoo.write_text(yaml.safe_dump(content | {"finetune": STEPS | {"head": head}}))
        (done,) = finetune_zoo(zoo, tasks=["red"], out=tmp_path / head)
        heads[head] = Checkpoint(done.folder / "head.safetensors")
    model = open_zoo(load_zoo_of(zoo, "red"), ()).model
    model.load(open_zoo(load_zoo_of(zoo, "red"), ()).base)
    split = load_split(load_zoo_of(zoo, "red").task("red"), "train", model.transform)
    x, labels = model.features(split.at(range(len(split)))).detach(), split.labels()
    means = torch.stack([x[labels == label].mean(dim=0) for label in (0, 1)])
    frozen = heads["means"]["weight"]
    scale = frozen[0] @ means[0] / (means[0] @ means[0])
    torch.testing.assert_close(frozen, scale * means)
    torch.testing.assert_close(heads["means"]["bias"], -scale * (means**2).sum(dim=1) / 2)
    assert not torch.allclose(heads["trained"]["weight"], frozen)


def load_zoo_of(file: Path, task: str):
    """The filled-in zoo with one task only."""
    content = yaml.safe_load(file.read_text())
    content["tasks"] = [entry for entry in content["tasks"] if entry["name"] == task]
    alone = file.with_name(f"{task}.yaml")
    alone.write_text(yaml.safe_dump(content))
    return load_zoo(alone)


def test_texts_are_finetuned_too(tmp_path):
    file = untrained(text_zoo(tmp_path, "bert"), head="probe")
    finetune_zoo(file)
    assert changed(open_zoo(load_zoo(file)), "second")


class Interrupted(Cancel):
    def __init__(self, checks: int) -> None:
        self.left = checks

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def test_an_interrupted_task_starts_anew_and_a_finished_one_is_kept(zoo, tmp_path):
    before = zoo.read_text()
    with pytest.raises(KeyboardInterrupt):
        finetune_zoo(zoo, cancel=Interrupted(9))
    assert zoo.read_text() == before
    assert not (zoo.parent / "models").exists() or not [*(zoo.parent / "models").iterdir()]

    finetune_zoo(zoo, tasks=[TASKS[0]])
    first = zoo.parent / "models" / TASKS[0] / "model" / "open_clip_model.safetensors"
    made = first.stat().st_mtime_ns
    text = zoo.read_text()
    zoo.write_text(before)  # as if the process had died between the folder and the zoo file
    assert [done.found for done in finetune_zoo(zoo)] == [True, False]
    assert first.stat().st_mtime_ns == made and zoo.read_text().startswith(text[: text.index("red")])
    assert load_zoo(zoo).task("bright").head == str(zoo.parent / "models" / "bright" / "head.safetensors")

    zoo.write_text(before)
    finetune_zoo(zoo, out=tmp_path / "again")  # what an uninterrupted run gives
    again = tmp_path / "again" / TASKS[0] / "model" / first.name
    assert again.read_bytes() == first.read_bytes()


def test_a_folder_made_with_other_settings_is_refused(zoo):
    before = zoo.read_text()
    finetune_zoo(zoo, tasks=["red"])
    zoo.write_text(before.replace("epochs: 3", "epochs: 4"))
    with pytest.raises(UserError, match=r"was made with something else \(epochs 3, now 4\)"):
        finetune_zoo(zoo, tasks=["red"])
    (zoo.parent / "models" / "red" / "finetune.json").write_text("[]")
    with pytest.raises(UserError, match="is no finetuned task"):
        finetune_zoo(zoo, tasks=["red"])


def test_what_cannot_be_finetuned_is_one_sentence(zoo):
    whole = yaml.safe_load(zoo.read_text())

    def refused(sentence: str, *, tasks=None, **changes) -> None:
        content = json.loads(json.dumps(whole))
        for place, value in changes.items():
            (content if place in content else content["tasks"][0])[place] = value
        zoo.write_text(yaml.safe_dump(content))
        with pytest.raises(UserError, match=sentence):
            finetune_zoo(zoo, tasks=tasks)
        assert not (zoo.parent / "models" / "red").exists()

    data = whole["tasks"][0]["data"]
    refused("task 'red' has a model already", model="base", tasks=["red"])
    refused("task 'red' has nothing to learn from", data=None)
    refused("task 'red' has nothing to learn from", data={**data, "train_split": None})
    refused("has no task 'blue': its tasks are red, bright", tasks=["blue"])
    refused("task 'red' is scored by pearson", data={**data, "metric": "pearson"})
    refused("base.model: gone does not exist beside the zoo file", base={"model": "gone"})
    refused("this one is open_clip's: train blocks, or all", **{"finetune": {"trained": "lora"}})
    refused("`finetune.rank` is read with `trained: lora` only", **{"finetune": {"rank": 4}})
    tasks = [{**whole["tasks"][0], "head": "a.safetensors", "finetune": {"head": "probe"}}, whole["tasks"][1]]
    zoo.write_text(yaml.safe_dump({**whole, "tasks": tasks}))
    with pytest.raises(UserError, match="`tasks.0.finetune.head` is not read, as the task names its head"):
        finetune_zoo(zoo)
    refused("`finetune.epoch` is no setting of finetuning", **{"finetune": {"epoch": 4}})
    refused("`finetune.epochs` is wrong: input should be greater", **{"finetune": {"epochs": 0}})
    with pytest.raises(UserError, match="demo is a shipped zoo: copy"):
        finetune_zoo("demo")
    zoo.write_text(yaml.safe_dump(whole))
    with pytest.raises(UserError, match=r"`tasks.0.model` is missing: add it, or train the task with .* zoo finetune"):
        load_zoo(zoo)


def test_lora_without_peft_names_the_extra(pictures, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    content = yaml.safe_load(pictures.read_text())
    content["base"]["model"] = str(pictures.parent / "base")
    for task in content["tasks"]:
        task["data"]["path"] = str(pictures.parent / task["data"]["path"])
    file = tmp_path / "zoo.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=r"pip install 'fda\[finetune\]'"):
        finetune_zoo(untrained(file, trained="lora"))


@pytest.mark.parametrize("flow", [False, True])
def test_filling_in_keeps_comments_and_all_other_keys(zoo, flow):
    content = yaml.safe_load(zoo.read_text())
    content["tasks"][0]["finetune"] = {"head": "probe"}
    tasks = yaml.safe_dump(content["tasks"], default_flow_style=flow, sort_keys=False).replace("\n", "\n  ")
    rest = yaml.safe_dump({key: value for key, value in content.items() if key != "tasks"})
    zoo.write_text(f"{rest}tasks:  # of pictures\n  {tasks}\n# the end\n")
    finetune_zoo(zoo)
    assert "tasks:  # of pictures\n" in zoo.read_text() and zoo.read_text().endswith("# the end\n")
    filled = yaml.safe_load(zoo.read_text())
    for task in filled["tasks"]:
        assert task.pop("model") == f"models/{task['name']}/model"
        assert task.pop("head") == f"models/{task['name']}/head.safetensors"
    assert filled == content and load_zoo(zoo)


def test_the_command_trains_what_it_is_asked_to(zoo, tmp_path):
    words = ["zoo", "finetune", str(zoo), "--tasks", "bright", "--out", str(tmp_path / "there"), "--device", "cpu"]
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 0, result.output
    assert f"bright: written: {tmp_path / 'there' / 'bright'}" in result.stdout
    assert "bright: epoch 3, loss" in result.stderr
    assert [bool(task.get("model")) for task in yaml.safe_load(zoo.read_text())["tasks"]] == [False, True]

"""Data, heads and evaluation against exact cases."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from fda.cancel import Cancel
from fda.errors import UserError
from fda.tasks.data import load_split
from fda.tasks.evaluate import evaluate
from fda.tasks.heads import Head, load_head
from fda.tasks.inputs import block_inputs
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo


@pytest.fixture(scope="module")
def opened(tiny_zoo):
    return open_zoo(load_zoo(tiny_zoo))


def test_a_split_gives_prepared_images_and_labels(opened):
    split = load_split(opened.zoo.task("red"), "test", opened.model.transform)
    images, labels = zip(*split.batches(16), strict=True)
    assert torch.cat(images).shape == (40, 3, 8, 8)
    assert torch.cat(labels).tolist() == [i % 2 for i in range(40)]
    again = torch.cat([batch for batch, _ in split.batches(16)])
    assert torch.equal(again, torch.cat(images))
    assert split.images(5).shape == (5, 3, 8, 8)


def test_missing_columns_splits_and_data_are_named(opened):
    task = opened.zoo.task("red")
    wrong = task.model_copy(update={"data": task.data.model_copy(update={"input": "picture"})})
    with pytest.raises(UserError, match=r"has no column 'picture' \(`data.input`\): it has image, label"):
        load_split(wrong, "test", opened.model.transform)
    with pytest.raises(UserError, match="the split 'exam' of .* could not be loaded"):
        load_split(task, "exam", opened.model.transform)
    with pytest.raises(UserError, match="names no data"):
        load_split(task.model_copy(update={"data": None}), "test", opened.model.transform)


def test_head_with_and_without_logit_scale():
    features = torch.tensor([[3.0, 4.0]])
    weight = torch.tensor([[2.0, 0.0], [0.0, 5.0]])
    plain = Head(weight, torch.tensor([1.0, 0.0]), None)
    assert plain.logits(features).tolist() == [[7.0, 20.0]]
    scaled = Head(weight, None, torch.tensor(10.0))
    assert scaled.logits(features).tolist() == [pytest.approx([6.0, 8.0])]


def test_a_file_that_is_no_head_is_named(opened, tmp_path):
    task = opened.zoo.task("red")
    save_file({"w": torch.zeros(2)}, tmp_path / "head.safetensors")
    with pytest.raises(UserError, match="is not a head"):
        load_head(task.model_copy(update={"head": str(tmp_path / "head.safetensors")}))
    with pytest.raises(UserError, match="names no head file"):
        load_head(task.model_copy(update={"head": None}))


def test_accuracy_counts_right_answers(opened):
    task = opened.zoo.task("red")
    split = load_split(task, "test", opened.model.transform)
    opened.model.load(opened.base)
    head = load_head(task)
    images, labels = next(split.batches(40))
    right = head.logits(opened.model.module.encode_image(images)).argmax(1) == labels
    checks = []
    found = evaluate(opened.model, head, split, cancel=Cancel(lambda: bool(checks.append(1))))
    assert found.accuracy == right.float().mean().item() and found.count == 40 and checks
    always_no = Head(torch.zeros_like(head.weight), torch.tensor([1.0, 0.0]), None)
    assert evaluate(opened.model, always_no, split).accuracy == 0.5


def test_block_inputs_are_what_the_block_before_gave(opened):
    opened.model.load(opened.base)
    split = load_split(opened.zoo.task("red"), "test", opened.model.transform)
    first, second = block_inputs(opened.model, split.images(3))
    block = opened.model.blocks[0]
    assert first.shape == (3, 5, 16)
    assert torch.allclose(block(block.of(opened.base), first), second, atol=1e-5)


def test_checkpoints_and_heads_of_other_formats_give_the_same_answers(opened, tmp_path):
    """A finetuned model and a head by torch.save: read lazily, no pickle is executed."""
    folder = tmp_path / "red"
    folder.mkdir()
    torch.save(dict(opened.tasks["red"]), folder / "finetuned.pt")
    torch.save({"weight": load_file(opened.zoo.task("red").head)["weight"]}, tmp_path / "head.pt")
    task = opened.zoo.task("red").model_copy(
        update={"model": str(folder / "finetuned.pt"), "head": str(tmp_path / "head.pt")}
    )
    zoo = opened.zoo.model_copy(update={"tasks": (task, opened.zoo.task("bright"))})
    other = open_zoo(zoo)
    assert other.tasks["red"].header.keys() == opened.tasks["red"].header.keys()
    split = load_split(task, "test", opened.model.transform)
    answers = []
    for one in (opened, other):
        one.model.load(one.tasks["red"])
        answers.append(evaluate(one.model, load_head(one.zoo.task("red")), split).predicted)
    assert (answers[0] == answers[1]).all()

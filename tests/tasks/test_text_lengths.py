"""Texts are scored in batches of like length and cut where the zoo file says; neither changes whose answer is whose."""

import numpy as np
import pytest
import torch

from fda.errors import UserError
from fda.stages.scoring import EvaluationSet, ModelToScore, answer
from fda.tasks.data import SPAN, load_split
from fda.tasks.evaluate import evaluate
from fda.tasks.heads import task_head
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo, validated
from tests.support.library_zoos import image_zoo, text_zoo


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    one = open_zoo(load_zoo(text_zoo(tmp_path_factory.mktemp("texts"), "roberta")))
    one.model.load(one.tasks["first"])
    return one


def first_split(opened, **data):
    task = opened.zoo.task("first")
    return load_split(
        task.model_copy(update={"data": task.data.model_copy(update=data)}), "test", opened.model.transform
    )


def test_texts_of_like_length_share_a_batch_and_the_answers_are_those_to_each_text_alone(opened, monkeypatch):
    monkeypatch.setattr("fda.tasks.evaluate.TEXTS", 5)
    monkeypatch.setitem(SPAN, "text", 10)
    split, head = first_split(opened), task_head(opened, "first")
    lengths = [int(batch.mask.sum()) for batch, _ in split.batches(1)]
    assert len(set(lengths)) > 3 and lengths != sorted(lengths, reverse=True)
    assert [lengths[index] for index in split.by_length()] == sorted(lengths, reverse=True)
    alone = [evaluate(opened.model, head, split, indices=[index]) for index in range(len(split))]
    weights = {name: opened.tasks["first"][name] for name in opened.tasks["first"]}
    data = opened.zoo.task("first").data
    ((found,),) = (
        one.values()
        for one in answer(
            opened.model, [ModelToScore("own", weights, ("first",))], {"first": EvaluationSet(split, head, data)}, "cpu"
        )
    )
    for one in (found, evaluate(opened.model, head, split)):
        assert one.predicted.tolist() == [each.predicted.item() for each in alone]
        assert one.label.tolist() == split.labels().tolist()
        assert len(np.unique(one.top.probabilities[:, 0])) > 10
        np.testing.assert_allclose(
            one.top.probabilities, np.concatenate([each.top.probabilities for each in alone]), atol=1e-5
        )


def test_the_order_does_not_depend_on_the_pieces_in_memory(opened, monkeypatch):
    """Parts of the answers are kept by their place in it, and a resumed run may have other pieces."""
    monkeypatch.setattr("fda.tasks.data.WHOLE", 8)
    split = first_split(opened)
    pieces = list(split.pieces(1))
    assert [len(piece) for piece in pieces] == [8, 8, 8]
    assert split.by_length() == [8 * place + index for place, piece in enumerate(pieces) for index in piece.by_length()]
    assert split.by_length() != list(range(24))


def test_texts_are_cut_to_the_tokens_of_the_zoo_file_or_to_the_models_own_limit(opened):
    whole, cut, more = (first_split(opened, tokens=tokens) for tokens in (None, 5, 10**6))
    lengths = [len(tokens) for split in (whole, cut, more) for tokens in [split.at(range(24)).ids[0]]]
    assert lengths[0] > 5 and lengths[1] == 5 and lengths[2] == lengths[0]
    assert torch.equal(cut.at([0]).ids[0, :4], whole.at([0]).ids[0, :4])
    assert more.transform.most == whole.transform.most
    assert cut.transform.identity != whole.transform.identity, "answers to whole texts are not those to cut ones"


def test_a_limit_that_cannot_hold_is_refused(opened, tmp_path):
    marks = opened.model.transform.tokenizer.num_special_tokens_to_add()
    with pytest.raises(UserError, match=f"`data.tokens` is {marks}, of which the tokenizer's marks take {marks}"):
        first_split(opened, tokens=marks)
    images = open_zoo(load_zoo(image_zoo(tmp_path, "vit")))
    with pytest.raises(UserError, match="`data.tokens` limits texts, but the model takes images: leave it out"):
        first_split(images, tokens=9)
    task = {"name": "a", "model": "m", "data": {"path": "d"}}
    for data, says in (
        ({"tokens": 0}, "tasks.0.data.tokens` is wrong: input should be greater than or equal to 1"),
        ({"tokens": 9, "metric": "exact_match"}, "`tokens` would cut the ends off prompts, which the model continues"),
    ):
        with pytest.raises(UserError, match=says):
            validated({"name": "z", "base": {"model": "b"}, "tasks": [task | {"data": {"path": "d"} | data}]}, "z.yaml")

"""Measuring evaluation: both ways ask the same models the same samples, and what they answer is compared."""

import dataclasses

import numpy as np
import pytest
import torch
import yaml

from fda.bench import evaluate
from fda.bench.evaluate import bench_evaluate
from fda.errors import UserError


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_both_ways_give_equal_answers(tiny_zoo, fda_home):
    found = bench_evaluate(str(tiny_zoo), models=2, repeats=2, device="cpu")
    assert found["equal"] and found["models"] == 2 and found["samples"] == 80
    assert [row["path"] for row in found["rows"]] == ["one by one", "one pass"]
    assert all(0 < row["seconds"][1] <= row["seconds"][0] <= row["seconds"][2] for row in found["rows"])
    assert not (fda_home / "cache" / "answers").exists(), "nothing was taken from before"


def test_answers_that_differ_are_told(tiny_zoo, fda_home, monkeypatch):
    alone = evaluate._alone

    def other(*arguments):
        found = alone(*arguments)
        first = next(iter(found))
        return found | {first: dataclasses.replace(found[first], predicted=1 - np.minimum(found[first].predicted, 1))}

    monkeypatch.setattr(evaluate, "_alone", other)
    assert not bench_evaluate(str(tiny_zoo), models=1, repeats=1, device="cpu")["equal"]


def test_a_zoo_without_data_cannot_be_measured(tiny_zoo):
    content = yaml.safe_load(tiny_zoo.read_text())
    for task in content["tasks"]:
        del task["data"]
    bare = tiny_zoo.with_name("bare.yaml")
    bare.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match="has no `data`"):
        bench_evaluate(str(bare), models=1, repeats=1, device="cpu")

"""The zoo that stands for a large model, here made small: it opens, and its tasks moved what finetuning moves."""

import torch

from fda.bench.large_zoo import PICTURES, TASKS, write_large_zoo
from fda.tasks.data import load_split
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo

SMALL = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "side": 8, "patch": 4,
}  # fmt: skip


def test_it_is_a_zoo_whose_blocks_were_moved(tmp_path):
    opened = open_zoo(load_zoo(write_large_zoo(tmp_path / "zoos", **SMALL)))
    assert len(opened.tasks) == TASKS and len(opened.model.blocks) == 2
    inside = {block.prefix + name for block in opened.model.blocks for name in block.names}
    for task, weights in opened.tasks.items():
        moved = {name for name in opened.base if not torch.equal(weights[name], opened.base[name])}
        assert moved == inside
        assert len(load_split(opened.zoo.task(task), "validation", opened.model.transform)) == PICTURES

"""The schema made from a signature, reading of weights, and the one rule for what is a matrix."""

from typing import Annotated

import pytest
import torch
from safetensors.torch import save_file

from fda.checkpoints.treatments import is_linear, is_matrix, treatment, treatments
from fda.checkpoints.weights import Checkpoint, TensorInfo
from fda.merging.method import Hyper, Hyperparameter, all_weights, merging_method
from tests.support.states import SHAPES, random_states

TREATED = {  # matrix, vector or untouched; and whether it is a linear layer's weight
    "visual.conv1.weight": ("vector", False),
    "class_embedding": ("vector", False),
    "positional_embedding": ("matrix", False),
    "position_ids": ("untouched", False),
    "0.attn.in_proj_weight": ("matrix", True),
    "0.attn.in_proj_bias": ("vector", False),
    "0.mlp.c_fc.weight": ("matrix", True),
    "0.mlp.c_proj.weight": ("matrix", True),
    "0.row.weight": ("matrix", True),
    "0.column.weight": ("matrix", True),
    "0.half.weight": ("matrix", True),
    "0.brain.bias": ("vector", False),
    "0.mask": ("untouched", False),
    "0.still.weight": ("matrix", True),
    "text_projection": ("vector", False),
    "logit_scale": ("vector", False),
}


def test_the_treatment_of_every_tensor_from_headers_and_from_tensors(tmp_path):
    base, _ = random_states(0)
    save_file(base, tmp_path / "model.safetensors")
    listed = treatments(Checkpoint(tmp_path).header)
    assert {entry.name: (entry.treatment, entry.linear) for entry in listed} == TREATED
    for entry in listed:
        assert entry.shape == SHAPES[entry.name][0] and isinstance(entry.dtype, str)
        assert treatment(entry.name, base[entry.name]) == entry.treatment
        assert is_matrix(entry.name, base[entry.name]) == (entry.treatment == "matrix")
        assert is_linear(entry.name, base[entry.name]) == entry.linear


@pytest.mark.parametrize(
    ("name", "linear"),
    [
        ("visual.transformer.resblocks.3.attn.out_proj.weight", True),
        ("encoder.layers.0.self_attn.q_proj.weight", True),
        ("roberta.encoder.layer.0.attention.self.query.weight", True),
        ("token_embedding.weight", False),
        ("roberta.embeddings.word_embeddings.weight", False),
        ("transformer.wte.weight", False),
        ("visual.proj", False),
        ("visual_projection.weight", False),
        ("text_projection.weight", False),
        ("classifier.dense.weight", False),
        ("lm_head.weight", False),
    ],
)
def test_linear_weights_are_those_of_blocks(name, linear):
    assert is_linear(name, TensorInfo((8, 8), "F32")) is linear


@pytest.mark.parametrize(
    ("dtype", "floating"),
    [("F64", True), ("BF16", True), ("F8_E4M3", True), ("BOOL", False), ("U8", False), ("I32", False)],
)
def test_dtypes_of_headers(dtype, floating):
    assert (treatment("w", TensorInfo((2, 2), dtype)) == "matrix") is floating


def test_task_vectors_are_read_in_fp32_one_tensor_at_a_time():
    base, finetuned = random_states(2)
    seen, earlier = [], []
    for name, theta0, taus in all_weights(base, finetuned):
        assert not any(earlier)  # the last tensor's task vectors are gone
        assert theta0.dtype == torch.float32 and len(taus) == 2
        for tau, state in zip(taus, finetuned, strict=True):
            assert torch.equal(tau, state[name].float() - base[name].float())
        seen.append(name)
        earlier.append(taus)
    assert seen == [name for name, (_, dtype) in SHAPES.items() if dtype.is_floating_point]


def test_the_schema_comes_from_the_signature():
    @merging_method(name="m", title="M", idea="An idea.", paper="https://x", year=2020)
    def m(base, finetuned, *, a: Annotated[float, Hyper("what a is", 0.0, 1.0, "someone")] = 0.5, b: int = 3):
        yield from ()

    assert m.hyperparameters == (Hyperparameter("a", float, 0.5, "what a is", 0.0, 1.0, "someone"),)
    assert m.defaults == {"a": 0.5} and m.needs == "nothing"

"""Checkpoints that do not fit: each cause has its own sentence with its own next step, and wrapped names simply fit."""

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from fda.architectures.transformers_model import open_transformers_model
from fda.errors import UserError
from fda.requests.preview import preview
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo
from tests.support.library_zoos import TEXTS, text_zoo


@pytest.fixture
def zoo(tmp_path):
    return text_zoo(tmp_path, "llama")


def rewrite(folder, change) -> None:
    """`change`: name and tensor → a dict of what stands there instead."""
    path = folder / "model.safetensors"
    new = {}
    for name, tensor in load_file(path).items():
        new |= change(name, tensor)
    save_file(new, path, {"format": "pt"})


def first_problem(path) -> str:
    problems = preview(load_zoo(path)).problems
    with pytest.raises(UserError) as error:
        open_zoo(load_zoo(path))
    assert str(error.value) == problems[0] and len(problems) == 1
    return problems[0]


WRAPPED = {
    "torch.compile": lambda name: f"_orig_mod.{name}",
    "FSDP": lambda name: name.replace("layers.", "_fsdp_wrapped_module.layers.").replace(
        "0.", "0._fsdp_wrapped_module."
    ),
    "checkpointing": lambda name: name.replace("mlp.", "mlp._checkpoint_wrapped_module."),
    "all at once": lambda name: f"module._orig_mod.{name.replace('1.', '1._forward_module.')}",
    "data parallel within": lambda name: name.replace("model.", "model.module."),
}


@pytest.mark.parametrize("wrapper", WRAPPED)
def test_names_of_wrappers_are_read_wherever_they_stand(zoo, wrapper):
    folder = zoo.parent / "first"
    before = load_file(folder / "model.safetensors")
    rewrite(folder, lambda name, tensor: {WRAPPED[wrapper](name): tensor})
    assert set(load_file(folder / "model.safetensors")) != set(before)
    assert preview(load_zoo(zoo)).problems == ()
    opened = open_zoo(load_zoo(zoo))
    assert all(torch.equal(opened.tasks["first"][name], before[f"model.{name}"]) for name in opened.base)
    assert len(opened.base) == 20


def test_one_tensor_with_and_without_a_wrapper_is_named(zoo):
    rewrite(zoo.parent / "first", lambda name, tensor: {name: tensor, f"_orig_mod.{name}": tensor.clone()})
    with pytest.raises(UserError, match="which are one tensor but for the wrapper in the name"):
        open_zoo(load_zoo(zoo))


def test_shards_that_zero_3_left_ungathered(zoo):
    rewrite(zoo.parent / "first", lambda name, _: {name: torch.zeros(0)})
    problem = first_problem(zoo)
    assert "21 of 21 tensors are empty" in problem and "run the `zero_to_fp32.py`" in problem


def test_quantised_weights(zoo):
    def quantised(name, tensor):
        if not name.endswith("proj.weight"):
            return {name: tensor}
        stem = name.removesuffix(".weight")
        return {f"{stem}.qweight": torch.zeros(2, 16, dtype=torch.int32), f"{stem}.scales": torch.ones(1, 16)}

    rewrite(zoo.parent / "first", quantised)
    problem = first_problem(zoo)
    assert "holds quantised weights" in problem and problem.endswith("save it again after `model.dequantize()`.")


@pytest.mark.parametrize("kept", [1, 3])
def test_another_number_of_layers(zoo, kept):
    if kept == 1:
        rewrite(zoo.parent / "first", lambda name, tensor: {} if ".1." in name else {name: tensor})
        problem = first_problem(zoo)
        assert "has 1 blocks (layers.…) where 2 are expected" in problem
    else:
        again = lambda name, tensor: {name: tensor, name.replace(".1.", ".2."): tensor.clone()}  # noqa: E731
        rewrite(zoo.parent / "first", again)
        assert "9 tensors of its blocks have no place in the base's" in first_problem(zoo)


def test_another_width(zoo):
    fields = TEXTS["llama"][1] | {"hidden_size": 32}
    torch.manual_seed(0)
    wide = transformers.LlamaForSequenceClassification(transformers.LlamaConfig(**fields))
    save_file(wide.state_dict(), zoo.parent / "first" / "model.safetensors", {"format": "pt"})
    problem = first_problem(zoo)
    assert "is 32 wide where 16 is expected" in problem and "a model of the same size" in problem


@pytest.mark.parametrize(
    ("kind", "fields", "sentence"),
    [
        (
            "T5",
            {"d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 4},
            "describes an encoder–decoder model",
        ),
        ("Bart", {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2}, "describes an encoder–decoder model"),
        ("Git", {"hidden_size": 24, "num_hidden_layers": 2}, "describes a model of images and texts together"),
        ("TrOCR", {"d_model": 16, "decoder_layers": 2}, "only whole models with a head"),
        ("XLNet", {"d_model": 16, "n_layer": 2, "n_head": 4}, "docs/architectures.md lists those that are"),
    ],
)
def test_architectures_that_are_not_read(tmp_path, kind, fields, sentence):
    getattr(transformers, f"{kind}Config")(**fields, vocab_size=21).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=sentence):
        open_transformers_model(tmp_path)


def test_a_mixture_of_experts_that_the_library_would_join(tmp_path):
    fields = TEXTS["llama"][1] | {"num_local_experts": 2, "num_experts_per_tok": 1}
    transformers.MixtralForCausalLM(transformers.MixtralConfig(**fields)).save_pretrained(tmp_path)
    from fda.checkpoints.readers.open import open_weights

    with pytest.raises(UserError, match=r"keeps each expert by itself .*: give a dense model\.$"):
        open_transformers_model(tmp_path).fit(open_weights(tmp_path))

"""LoRA adapters in PEFT's file layout, written by hand: what is added to which weight, and what is refused."""

import json
import math

import pytest
import torch
from safetensors.torch import save_file

from fda.checkpoints.readers.adapters import AdaptedWeights
from fda.checkpoints.readers.convert import convert_to_safetensors
from fda.checkpoints.readers.names import fitted
from fda.checkpoints.readers.open import open_weights
from fda.errors import UserError

RANK, ALPHA = 4, 8
# As PEFT 0.13 writes it for `LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])`.
PLAIN = {
    "alpha_pattern": {},
    "auto_mapping": {"base_model_class": "CLIPVisionModel", "parent_library": "transformers.models.clip.modeling_clip"},
    "base_model_name_or_path": "openai/clip-vit-base-patch16",
    "bias": "none",
    "eva_config": None,
    "fan_in_fan_out": False,
    "inference_mode": True,
    "init_lora_weights": True,
    "layer_replication": None,
    "layers_pattern": None,
    "layers_to_transform": None,
    "loftq_config": {},
    "lora_alpha": ALPHA,
    "lora_dropout": 0.1,
    "megatron_config": None,
    "megatron_core": "megatron.core",
    "modules_to_save": None,
    "peft_type": "LORA",
    "r": RANK,
    "rank_pattern": {},
    "revision": None,
    "target_modules": ["q_proj", "v_proj"],
    "task_type": None,
    "use_dora": False,
    "use_rslora": False,
}
Q, V = "encoder.layers.0.self_attn.q_proj", "encoder.layers.0.self_attn.v_proj"


def base_state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "embeddings.patch_embedding.weight": torch.randn(16, 3, 4, 4, generator=generator),
        f"{Q}.weight": torch.randn(16, 16, generator=generator),
        f"{Q}.bias": torch.randn(16, generator=generator),
        f"{V}.weight": torch.randn(16, 16, generator=generator),
        "encoder.layers.0.mlp.fc1.weight": torch.randn(24, 16, generator=generator),
        "position_ids": torch.arange(5)[None],
    }


def factors(
    *layers: str, prefix: str = "base_model.model.", shape=(16, 16), rank: int = RANK
) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    made = {}
    for layer in layers:
        made[f"{prefix}{layer}.lora_A.weight"] = torch.randn(rank, shape[1], generator=generator)
        made[f"{prefix}{layer}.lora_B.weight"] = torch.randn(shape[0], rank, generator=generator)
    return made


@pytest.fixture
def adapter(tmp_path):
    """A function that writes an adapter and its base, and opens it."""

    def write(tensors, config=None, base=None) -> AdaptedWeights:
        (tmp_path / "base").mkdir(exist_ok=True)
        (tmp_path / "adapter").mkdir(exist_ok=True)
        save_file(base_state() if base is None else base, tmp_path / "base" / "model.safetensors")
        save_file(tensors, tmp_path / "adapter" / "adapter_model.safetensors")
        (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(PLAIN | (config or {})))
        return open_weights(tmp_path / "adapter", base=open_weights(tmp_path / "base"))

    return write


def product(tensors, layer: str, prefix: str = "base_model.model.") -> torch.Tensor:
    return tensors[f"{prefix}{layer}.lora_B.weight"] @ tensors[f"{prefix}{layer}.lora_A.weight"]


def test_targeted_weights_get_the_scaled_product_and_no_others(adapter):
    tensors, base = factors(Q, V), base_state()
    weights = adapter(tensors)
    assert isinstance(weights, AdaptedWeights) and list(weights) == sorted(base)
    for name, tensor in base.items():
        layer = name.removesuffix(".weight")
        added = ALPHA / RANK * product(tensors, layer) if layer in (Q, V) else torch.zeros(())
        assert torch.allclose(weights[name], tensor + added.to(tensor.dtype), atol=1e-5), name
        assert weights[name].dtype == tensor.dtype and weights.header[name].shape == tuple(tensor.shape)


def test_the_task_vector_has_the_adapters_rank(adapter):
    weights = adapter(factors(Q))
    tau = (weights[f"{Q}.weight"] - weights.base[f"{Q}.weight"]).double()
    values = torch.linalg.svdvals(tau)
    assert values[RANK - 1] > 1 and values[RANK] < 1e-5


@pytest.mark.parametrize(
    ("config", "scaling"),
    [
        ({"use_rslora": True}, ALPHA / math.sqrt(RANK)),
        ({"lora_alpha": 3}, 3 / RANK),
        ({"alpha_pattern": {"q_proj": 5}}, 5 / RANK),
        ({"alpha_pattern": {Q: 6}}, 6 / RANK),
        ({"alpha_pattern": {"^" + Q: 6}, "use_rslora": True}, 6 / math.sqrt(RANK)),
        ({"alpha_pattern": {"v_proj": 5, "proj": 7}}, ALPHA / RANK),  # patterns are whole parts of a path
    ],
)
def test_scaling(adapter, config, scaling):
    tensors = factors(Q)
    weights = adapter(tensors, config)
    assert torch.allclose(
        weights[f"{Q}.weight"], base_state()[f"{Q}.weight"] + scaling * product(tensors, Q), atol=1e-5
    )


def test_a_layer_of_another_rank_is_scaled_by_its_own(adapter):
    tensors = factors(Q) | factors(V, rank=2)
    weights = adapter(tensors, {"rank_pattern": {"v_proj": 2}})
    assert torch.allclose(
        weights[f"{V}.weight"], base_state()[f"{V}.weight"] + ALPHA / 2 * product(tensors, V), atol=1e-5
    )


@pytest.mark.parametrize("declared", [True, False])
def test_weights_stored_as_in_times_out(adapter, declared):
    """GPT-2's layers. Where the shapes tell, a config that does not say so is understood too."""
    base = base_state() | {"h.0.attn.c_attn.weight": torch.randn(16, 48)}
    tensors = factors("h.0.attn.c_attn", shape=(48, 16))
    weights = adapter(tensors, {"fan_in_fan_out": declared}, base)
    expected = base["h.0.attn.c_attn.weight"] + ALPHA / RANK * product(tensors, "h.0.attn.c_attn").T
    assert torch.allclose(weights["h.0.attn.c_attn.weight"], expected, atol=1e-5)
    square = base_state() | {"h.0.attn.c_proj.weight": torch.randn(16, 16)}
    tensors = factors("h.0.attn.c_proj")
    weights = adapter(tensors, {"fan_in_fan_out": declared}, square)
    added = ALPHA / RANK * product(tensors, "h.0.attn.c_proj")
    expected = square["h.0.attn.c_proj.weight"] + (added.T if declared else added)
    assert torch.allclose(weights["h.0.attn.c_proj.weight"], expected, atol=1e-5)


def test_an_embeddings_factors(adapter):
    base = base_state() | {"embed_tokens.weight": torch.randn(20, 16)}
    a, b = torch.randn(RANK, 20), torch.randn(16, RANK)
    prefix = "base_model.model.embed_tokens.lora_embedding_"
    weights = adapter({prefix + "A": a, prefix + "B": b}, base=base)
    assert torch.allclose(
        weights["embed_tokens.weight"], base["embed_tokens.weight"] + ALPHA / RANK * (b @ a).T, atol=1e-5
    )


@pytest.mark.parametrize("between", ["", "modules_to_save.", "modules_to_save.default."])
def test_layers_saved_whole_replace_the_bases_or_are_added(adapter, between):
    whole = {
        f"base_model.model.encoder.layers.0.mlp.fc1.{between}weight": torch.randn(24, 16),
        f"base_model.model.classifier.{between}weight": torch.randn(3, 16),
        f"base_model.model.{Q}.bias": torch.randn(16),
    }
    weights = adapter(factors(Q) | whole, {"modules_to_save": ["fc1", "classifier"], "bias": "lora_only"})
    for name, tensor in zip(
        ("encoder.layers.0.mlp.fc1.weight", "classifier.weight", f"{Q}.bias"), whole.values(), strict=True
    ):
        assert torch.equal(weights[name], tensor) and weights.header[name].shape == tuple(tensor.shape)
    assert list(weights) == sorted([*base_state(), "classifier.weight"])


@pytest.mark.parametrize("between", ["", "base_layer."])
def test_trained_biases_replace_the_bases(adapter, between):
    """PEFT saves those of a layer that has factors under the name that the layer has within its wrapper."""
    bias = torch.randn(16)
    tensors = factors(f"vit.{Q}") | {f"base_model.model.vit.{Q}.{between}bias": bias}
    weights = adapter(tensors, {"bias": "lora_only"})
    assert torch.equal(weights[f"{Q}.bias"], bias) and list(weights) == sorted(base_state())
    assert weights.changes(f"{Q}.bias") and weights.changes(f"{Q}.weight") and not weights.changes(f"{V}.weight")


def test_factors_are_added_to_a_matrix_that_was_saved_beside_them(adapter):
    """As PEFT does for embeddings, and for a head that the base's file lacks."""
    base = base_state() | {"embed_tokens.weight": torch.randn(20, 16)}
    grown, head, a, b = torch.randn(22, 16), torch.randn(22, 16), torch.randn(RANK, 22), torch.randn(16, RANK)
    tensors = factors(Q) | factors("lm_head", shape=(22, 16))
    embeddings = {"base_layer.weight": grown, "lora_embedding_A": a, "lora_embedding_B": b}
    saved = {f"base_model.model.embed_tokens.{name}": tensor for name, tensor in embeddings.items()}
    saved["base_model.model.lm_head.base_layer.weight"] = head
    weights = adapter(tensors | saved, base=base)
    assert torch.allclose(weights["embed_tokens.weight"], grown + ALPHA / RANK * (b @ a).T, atol=1e-5)
    assert torch.allclose(weights["lm_head.weight"], head + ALPHA / RANK * product(tensors, "lm_head"), atol=1e-5)
    assert weights.header["embed_tokens.weight"].shape == (22, 16)


def test_the_bases_own_layer_beside_the_one_that_was_trained_in_its_place_is_left_out(adapter):
    own = {f"base_model.model.classifier.{between}weight": torch.randn(3, 16) for between in ("", "original_module.")}
    weights = adapter(factors(Q) | own, {"modules_to_save": ["classifier"]})
    assert torch.equal(weights["classifier.weight"], own["base_model.model.classifier.weight"])
    assert list(weights) == sorted([*base_state(), "classifier.weight"])


@pytest.mark.parametrize("layer", ["encoder.layers.0.mlp.fc9", "decoder.layers.0.mlp.fc1", "more"])
def test_a_tensor_that_would_change_nothing_is_refused_by_name(adapter, layer):
    tensors = factors(Q) | {f"base_model.model.{layer}.bias": torch.randn(24)}
    with pytest.raises(UserError, match=rf"has a tensor base_model.model.{layer}.bias that replaces none of .*/base/"):
        list(adapter(tensors, {"bias": "all", "modules_to_save": ["classifier"]}))
    assert f"{layer}.bias" in adapter(tensors, {"bias": "all", "modules_to_save": [layer.split(".")[-1]]})


@pytest.mark.parametrize("layer", ["layer.0.query", "layers.0.q_proj"])
@pytest.mark.parametrize("stored", ["layer.0.query", "layers.0.q_proj"])
def test_layers_are_found_under_the_names_of_another_version(tmp_path, adapter, layer, stored):
    base = {f"{stored}.weight": torch.randn(16, 16), f"{stored}.bias": torch.randn(16)}
    tensors = factors(f"vit.{layer}") | {f"base_model.model.vit.{layer}.base_layer.bias": torch.randn(16)}
    adapter(tensors, base=base)
    renamed = open_weights(
        tmp_path / "adapter",
        base=open_weights(tmp_path / "base"),
        rename=lambda name: name.replace("layer.0.query", "layers.0.q_proj"),
    )
    expected = base[f"{stored}.weight"] + ALPHA / RANK * product(tensors, f"vit.{layer}")
    assert list(renamed) == sorted(base) and torch.allclose(renamed[f"{stored}.weight"], expected, atol=1e-5)
    assert torch.equal(renamed[f"{stored}.bias"], tensors[f"base_model.model.vit.{layer}.base_layer.bias"])


@pytest.mark.parametrize("adapters", ["", "vision_model.", "clip.vision_model."])
@pytest.mark.parametrize("bases", ["", "vision_model."])
def test_names_are_matched_across_prefixes(adapter, adapters, bases):
    tensors = factors(adapters + Q, adapters + V)
    weights = adapter(tensors, base={bases + name: tensor for name, tensor in base_state().items()})
    expected = base_state()[f"{Q}.weight"] + ALPHA / RANK * product(tensors, adapters + Q)
    assert torch.allclose(weights[f"{bases}{Q}.weight"], expected, atol=1e-5)
    expected_names = {name: tuple(tensor.shape) for name, tensor in base_state().items()}
    assert torch.allclose(fitted(weights, expected_names)[f"{Q}.weight"], expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_small_task_vector_survives_a_half_precision_base(adapter, dtype):
    base = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in base_state().items()}
    tensors = {name: 1e-3 * tensor for name, tensor in factors(Q).items()}
    weights = adapter(tensors, base=base)
    tau = weights[f"{Q}.weight"].double() - base[f"{Q}.weight"].double()
    expected = ALPHA / RANK * product({name: tensor.double() for name, tensor in tensors.items()}, Q)
    assert torch.allclose(tau, expected, atol=3e-7)
    assert weights[f"{Q}.weight"].dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert weights.header[f"{Q}.weight"].dtype == ("F64" if dtype == torch.float64 else "F32")
    assert weights[f"{V}.weight"].dtype == dtype


def test_fingerprint_follows_base_adapter_and_config(adapter):
    prints = [
        adapter(factors(Q)).fingerprint,
        adapter(factors(V)).fingerprint,
        adapter(factors(Q), {"lora_alpha": 9}).fingerprint,
        adapter(factors(Q), base=base_state() | {"more": torch.ones(1)}).fingerprint,
    ]
    assert len(set(prints)) == 4 and adapter(factors(Q)).fingerprint == prints[0]


def test_an_adapter_is_read_from_a_pickled_file_and_can_be_written_out(adapter, tmp_path):
    weights = adapter(factors(Q))
    expected = {name: weights[name] for name in weights}
    torch.save(factors(Q), tmp_path / "adapter" / "adapter_model.bin")
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    base = open_weights(tmp_path / "base")
    pickled = open_weights(tmp_path / "adapter" / "adapter_config.json", base=base)
    assert all(torch.equal(pickled[name], tensor) for name, tensor in expected.items())
    made = convert_to_safetensors(tmp_path / "adapter", tmp_path / "merged.safetensors", base=base)
    whole = open_weights(made.path)
    assert all(torch.equal(whole[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"peft_type": "IA3"}, "is an adapter of type IA3, which is not read"),
        ({"peft_type": "PREFIX_TUNING", "r": None}, "is an adapter of type PREFIX_TUNING"),
        ({"use_dora": True}, "uses the option use_dora, which is not read"),
        ({"lora_bias": True}, "uses the option lora_bias"),
        ({"layer_replication": [[0, 2]]}, "uses the option layer_replication"),
        ({"target_parameters": ["experts"]}, "uses the option target_parameters"),
        ({"trainable_token_indices": [1]}, "uses the option trainable_token_indices"),
        ({"invented_tomorrow": 1}, "uses the option invented_tomorrow"),
        ({"init_lora_weights": "pissa_niter_4"}, "was initialised by pissa_niter_4, which changes the base too"),
        ({"init_lora_weights": "olora"}, "was initialised by olora"),
        ({"alpha_pattern": {"(a+)+$": 3}}, r"alpha_pattern '\(a\+\)\+\$' is not the name of a layer"),
        ({"modules_to_save": [""]}, "modules_to_save is no list of names"),
        ({"modules_to_save": 5}, "modules_to_save is no list of names"),
        ({"r": 0}, "r is 0 and lora_alpha 8, where numbers are needed"),
        ({"lora_alpha": float("inf")}, "r is 4 and lora_alpha inf"),
    ],
)
def test_options_that_plain_lora_has_not_are_refused_by_name(adapter, config, sentence):
    with pytest.raises(UserError, match=rf"adapter_config.json:? {sentence}") as caught:
        adapter(factors(Q), config)[f"{Q}.weight"]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        (
            factors("decoder.layers.0.q_proj"),
            r"adapts a layer decoder.layers.0.q_proj.weight that .* does not have",
        ),
        (factors(Q, shape=(16, 8)), r"changes .*q_proj.weight by a matrix of 16 × 8, but it has shape \[16, 16\]"),
        ({f"base_model.model.{Q}.lora_A.weight": torch.ones(4, 16)}, r"has only one factor of the layer .*q_proj"),
        (factors(Q) | {f"base_model.model.{Q}.lora_magnitude_vector": torch.ones(16)}, "which plain LoRA has not"),
        ({"base_model.model.conv.lora_A.weight": torch.ones(4, 3, 2, 2)}, "adapts a layer conv.weight that"),
        ({f"base_model.model.{Q}.bias": torch.ones(16)}, "holds no LoRA factors"),
        (factors(Q) | {f"base_model.model.{Q}.lora_B.weight": torch.ones(16, 3)}, "no matrices of one rank"),
    ],
)
def test_tensors_that_do_not_fit_the_base_are_named(adapter, tensors, sentence):
    with pytest.raises(UserError, match=sentence):
        list(adapter(tensors))


def test_what_is_missing_is_told(adapter, tmp_path):
    adapter(factors(Q))
    with pytest.raises(
        UserError, match=r"adapter holds a LoRA adapter, which is no model by itself: give it as a task"
    ):
        open_weights(tmp_path / "adapter")
    base = open_weights(tmp_path / "base")
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has an adapter_config.json but no adapter_model.safetensors"):
        list(open_weights(tmp_path / "adapter", base=base))
    for damaged in ("", "{", "[]", "{}"):
        (tmp_path / "adapter" / "adapter_config.json").write_text(damaged)
        with pytest.raises(UserError, match=r"adapter_config.json is no config of a PEFT adapter"):
            list(open_weights(tmp_path / "adapter", base=base).config)

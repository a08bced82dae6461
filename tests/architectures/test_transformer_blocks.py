"""Blocks of transformers models, each against what the model itself computes; no architecture is named in the code."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModel

from fda.anchors.construct import Constructed, Step, construct
from fda.anchors.loss import angle_losses, cosines, induced_gradient
from fda.architectures.precision import written_out
from fda.architectures.transformer_blocks import find_blocks, transformer_blocks
from fda.architectures.transformers_build import build_on_meta
from fda.architectures.transformers_model import open_transformers_model
from fda.checkpoints.readers.open import open_weights
from fda.errors import UserError
from fda.settings import ConstructSettings

SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4}
IMAGE = {**SIZES, "image_size": 8, "patch_size": 4}
ENDS = {"bos_token_id": 1, "eos_token_id": 2}
TEXT = {**SIZES, "vocab_size": 30, "max_position_embeddings": 24, "pad_token_id": 0, **ENDS}
DECODER = {**TEXT, "num_key_value_heads": 2}
SLIDING = {**DECODER, "sliding_window": 3}
CONFIGS = {
    "CLIPVision": IMAGE,
    "ViT": IMAGE,
    "Dinov2": {**IMAGE, "mlp_ratio": 2},
    "Bert": TEXT,
    "Roberta": {**TEXT, "pad_token_id": 1},
    "DistilBert": {
        "dim": 16,
        "hidden_dim": 24,
        "n_layers": 3,
        "n_heads": 4,
        "vocab_size": 30,
        "max_position_embeddings": 24,
    },
    "GPT2": {"n_embd": 16, "n_layer": 3, "n_head": 4, "vocab_size": 30, "n_positions": 24, **ENDS},
    "Llama": DECODER,
    "Mistral": SLIDING,
    "Qwen2": {**SLIDING, "use_sliding_window": True, "max_window_layers": 1},
    "Gemma": {**DECODER, "head_dim": 4},
    "Gemma2": {**SLIDING, "head_dim": 4},
    "ModernBert": TEXT,
}
CAUSAL = ("GPT2", "Llama", "Mistral", "Qwen2", "Gemma", "Gemma2")
IMAGES = ("CLIPVision", "ViT", "Dinov2")
FUSED = ("GPT2", "ModernBert")


def config_of(name: str) -> transformers.PreTrainedConfig:
    return getattr(transformers, name + "Config")(**CONFIGS[name])


def model_of(name: str) -> transformers.PreTrainedModel:
    """Random weights, moved away from the zeros and ones that models start with."""
    torch.manual_seed(0)
    model = AutoModel.from_config(config_of(name), attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return model


def inputs_of(name: str, tokens: int = 9) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    if name in IMAGES:
        return {"pixel_values": torch.randn(2, 3, 8, 8, generator=generator)}
    return {"input_ids": torch.randint(3, 30, (2, tokens), generator=generator)}


@torch.no_grad()
def passing_through(model, layers, inputs) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(what enters, what leaves) every one of these modules while the model runs."""
    seen = {}

    def hook(module, args, keywords, output):
        entering = args[0] if args else keywords["hidden_states"]
        seen[module] = (entering, output[0] if isinstance(output, tuple) else output)

    hooks = [layer.register_forward_hook(hook, with_kwargs=True) for layer in layers]
    model(**inputs)
    for one in hooks:
        one.remove()
    return [seen[layer] for layer in layers]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_block_with_its_own_weights_gives_the_models_next_hidden_state(name):
    model = model_of(name)
    _, layers = find_blocks(model)
    through = passing_through(model, layers, inputs_of(name))
    blocks = transformer_blocks(model)
    state = model.state_dict()
    assert len(blocks) == 3 and [block.index for block in blocks] == [0, 1, 2]
    for block, (entering, leaving) in zip(blocks, through, strict=True):
        assert block.width == 16 and block.tokens == 5
        assert torch.allclose(block(block.of(state), entering), leaving, atol=1e-5)
        zeros = {key: torch.zeros_like(tensor) for key, tensor in block.of(state).items()}
        assert not torch.allclose(block(zeros, entering), leaving, atol=1e-2)  # a function of the parameters given
    for (_, leaving), (entering, _) in pairwise(through):
        assert torch.equal(leaving, entering)


@pytest.mark.parametrize("name", CONFIGS)
def test_five_steps_of_construction(name):
    block = transformer_blocks(model_of(name))[1]
    generator = torch.Generator().manual_seed(2)
    base = {key: torch.randn(shape, generator=generator) / 4 for key, shape in block.shapes.items()}
    moved = {key: tensor + 0.05 * torch.randn(tensor.shape, generator=generator) for key, tensor in base.items()}
    settings = ConstructSettings(anchors=4, steps=5)
    *steps, made = construct(block, base, moved, settings, seed=0)
    assert all(isinstance(step, Step) for step in steps) and isinstance(made, Constructed)
    assert len(steps) == 5 and steps[-1].angle_loss < steps[0].angle_loss
    assert made.anchors.shape == (4, 5, 16) and made.anchors.isfinite().all()
    dead = set(block.names) - set(made.live)
    assert len(dead) == (0 if name in (*CAUSAL, "ModernBert") else 1)  # a key bias, which attention cannot feel
    assert all("k" in key and key.endswith("bias") for key in dead)


@pytest.mark.parametrize("name", ["Llama", "Bert", "CLIPVision"])
def test_the_second_derivative_is_that_of_finite_differences(name):
    """Of the angle loss with respect to an anchor, in float64."""
    block = transformer_blocks(model_of(name))[0]
    generator = torch.Generator().manual_seed(2)
    base = {key: (torch.randn(shape, generator=generator) / 4).double() for key, shape in block.shapes.items()}
    moved = {key: tensor + 0.05 * torch.randn(tensor.shape, generator=generator) for key, tensor in base.items()}
    tau = {key: moved[key] - base[key] for key in base}
    live = tuple(key for key in base if "norm" not in key and "bias" not in key)
    x = torch.randn(2, 5, 16, generator=generator).double().requires_grad_()

    def loss(x):
        return angle_losses(cosines(induced_gradient(block, base, moved, x), tau, live))[0]

    (gradient,) = torch.autograd.grad(loss(x), x)
    direction = torch.randn(x.shape, generator=generator).double()
    step = 1e-3 * direction
    difference = (loss(x.detach().requires_grad_() + step) - loss(x.detach().requires_grad_() - step)).detach() / 2e-3
    assert torch.isclose((gradient * direction).sum(), difference, rtol=5e-3)  # RMS norms compute in float32


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in IMAGES])
def test_causal_models_see_the_past_only_and_encoders_everything(name):
    model = model_of(name)
    block = transformer_blocks(model)[0]
    parameters = block.of(model.state_dict())
    x = torch.randn(1, 6, 16, generator=torch.Generator().manual_seed(3))
    changed = x.clone()
    changed[:, 4] += torch.randn(16, generator=torch.Generator().manual_seed(4))  # one number would not pass a norm
    moved = (block(parameters, x) - block(parameters, changed)).abs().amax(dim=(0, 2)) > 1e-6
    assert moved.tolist() == ([False] * 4 + [True] * 2 if name in CAUSAL else [True] * 6)


def test_a_sliding_window_is_kept():
    model = model_of("Mistral")
    block = transformer_blocks(model)[0]
    parameters = block.of(model.state_dict())
    x = torch.randn(1, 6, 16, generator=torch.Generator().manual_seed(3))
    changed = x.clone()
    changed[:, 0] += torch.randn(16, generator=torch.Generator().manual_seed(4))
    moved = (block(parameters, x) - block(parameters, changed)).abs().amax(dim=(0, 2)) > 1e-6
    assert moved.tolist() == [True] * 3 + [False] * 3


def test_position_matters_where_the_model_rotates():
    model = model_of("Llama")
    block = transformer_blocks(model)[0]
    x = torch.randn(1, 6, 16, generator=torch.Generator().manual_seed(3))
    parameters = block.of(model.state_dict())
    swapped = x[:, [1, 0, 2, 3, 4, 5]]
    assert not torch.allclose(block(parameters, x)[:, 5], block(parameters, swapped)[:, 5], atol=1e-5)


@pytest.mark.parametrize("tokens", [1, 2, 7, 24])
def test_any_number_of_tokens_that_the_positions_allow(tokens):
    for name in ("Llama", "Qwen2", "GPT2"):
        model = model_of(name)
        block = transformer_blocks(model, tokens=tokens)[2]
        (entering, leaving) = passing_through(model, find_blocks(model)[1], inputs_of(name, tokens))[2]
        assert block.tokens == tokens
        assert torch.allclose(block(block.of(model.state_dict()), entering), leaving, atol=1e-5)


def test_more_tokens_than_the_model_has_are_told():
    model = model_of("Llama")
    with pytest.raises(UserError, match=r"LlamaModel has positions for 24 tokens: give `tokens` of at most 24"):
        transformer_blocks(model, tokens=25)
    block = transformer_blocks(model)[0]
    with pytest.raises(UserError, match=r"anchors of 25 tokens do not suit this model: its blocks take at most 24"):
        block(block.of(model.state_dict()), torch.zeros(1, 25, 16))
    roberta = model_of("Roberta")  # two of its 24 positions belong to padding
    with pytest.raises(UserError, match=r"RobertaModel has positions for 22 tokens"):
        transformer_blocks(roberta, tokens=23)
    with pytest.raises(UserError, match=r"ViTModel has 5 tokens: leave `tokens` out, or give 5"):
        transformer_blocks(model_of("ViT"), tokens=6)


def test_positions_that_depend_on_the_length_serve_one_length_only():
    """Long-rope models rotate short and long texts differently, so a beginning of a long one is no short one."""
    factors = {"rope_type": "longrope", "short_factor": [1.0, 1.0], "long_factor": [2.0, 3.0], "rope_theta": 10000.0}
    factors["original_max_position_embeddings"] = 23
    config = transformers.Phi3Config(**DECODER, rope_parameters=factors, original_max_position_embeddings=23)
    torch.manual_seed(0)
    model = AutoModel.from_config(config, attn_implementation="eager").eval()
    for tokens in (6, 24):
        block = transformer_blocks(model, tokens=tokens)[0]
        ids = torch.randint(3, 30, (2, tokens))
        entering, leaving = passing_through(model, find_blocks(model)[1], {"input_ids": ids})[0]
        assert torch.allclose(block(block.of(model.state_dict()), entering), leaving, atol=1e-5)
    block = transformer_blocks(model)[0]
    assert block.probe_tokens == block.tokens == 5
    with pytest.raises(UserError, match="its blocks take exactly 5"):
        block(block.of(model.state_dict()), torch.zeros(1, 6, 16))


@pytest.mark.parametrize(
    "name", ["Llama", "Mistral", "Qwen2", "Gemma", "GPT2", "CLIPVision", "ViT", "Dinov2", "DistilBert"]
)
def test_the_mlp_alone(name):
    model = model_of(name)
    _, layers = find_blocks(model)
    mlps = [layer.ffn if name == "DistilBert" else layer.mlp for layer in layers]
    through = passing_through(model, mlps, inputs_of(name))
    blocks = transformer_blocks(model, part="mlp")
    state = model.state_dict()
    for block, (entering, leaving) in zip(blocks, through, strict=True):
        assert torch.allclose(block(block.of(state), entering), leaving, atol=1e-5)
        assert all(block.prefix + key in state for key in block.names) and "attn" not in block.prefix
        assert block.tokens == (5 if name in IMAGES else 1)
    base = blocks[0].of(state)
    moved = {key: tensor + 0.05 * torch.randn(tensor.shape) for key, tensor in base.items()}
    *steps, made = construct(blocks[0], base, moved, ConstructSettings(anchors=6, steps=5), seed=0)
    assert steps[-1].angle_loss < steps[0].angle_loss and made.anchors.shape == (6, blocks[0].tokens, 16)


def test_models_without_such_blocks_are_told():
    with pytest.raises(UserError, match=r"BertLayer has no MLP of its own"):
        transformer_blocks(model_of("Bert"), part="mlp")
    for kind, config, sentence in (
        ("ResNet", {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]}, "has no list of equal blocks"),
        ("Swin", {"image_size": 16, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2]}, "could not be followed"),
        (
            "T5",
            {"d_model": 8, "d_ff": 8, "num_layers": 1, "num_heads": 2, "d_kv": 4, "vocab_size": 9},
            "could not be followed",
        ),
    ):
        model = AutoModel.from_config(getattr(transformers, kind + "Config")(**config))
        with pytest.raises(UserError, match=sentence):
            transformer_blocks(model)


def test_blocks_that_are_handed_something_made_of_weights_are_refused():
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(16, 16)

        def forward(self, hidden_states, bias=None):
            return self.linear(hidden_states) + bias

    class Biased(transformers.BertModel):
        def __init__(self, config):
            super().__init__(config)
            self.encoder = nn.ModuleList([Layer(), Layer()])
            self.bias = nn.Parameter(torch.randn(16))

        def forward(self, inputs_embeds, use_cache=False):
            for layer in self.encoder:
                inputs_embeds = layer(inputs_embeds, self.bias)
            return inputs_embeds

    with pytest.raises(UserError, match="handed values that depend on its weights"):
        transformer_blocks(Biased(config_of("Bert")))


def test_a_written_out_block_is_the_same_function():
    model = model_of("Llama")
    block = transformer_blocks(model)[0]
    parameters = block.of(model.state_dict())
    x = torch.randn(2, 5, 16)
    assert torch.allclose(written_out(block)(parameters, x), block(parameters, x), atol=1e-5)
    assert torch.equal(block.copy()(parameters, x), block(parameters, x))


# From folders


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("how", ["safetensors", "sharded", "pickled"])
def test_a_saved_folder_gives_the_models_own_hidden_states(tmp_path, name, how):
    model = model_of(name)
    model.save_pretrained(tmp_path, max_shard_size="8KB" if how == "sharded" else "1GB")
    if how == "pickled":
        torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
        (tmp_path / "model.safetensors").unlink()
    opened = open_transformers_model(tmp_path)
    assert all(tensor.device.type == "meta" for tensor in opened.module.parameters())
    assert opened.layout == ("fused qkv" if name in FUSED else "split qkv")
    weights = opened.fit(open_weights(tmp_path))
    assert set(weights) == set(opened.expected) == set(model.state_dict())
    through = passing_through(model, find_blocks(model)[1], inputs_of(name))
    for block, (entering, leaving) in zip(opened.blocks, through, strict=True):
        assert torch.allclose(block(block.of(weights), entering), leaving, atol=1e-5)
    with torch.no_grad():
        loaded, own = opened.load(weights)(**inputs_of(name)), model(**inputs_of(name))
    assert torch.allclose(loaded.last_hidden_state, own.last_hidden_state, atol=1e-5)


def test_half_precision_folders_give_float32_blocks(tmp_path):
    model = model_of("Llama").to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    opened = open_transformers_model(tmp_path)
    weights = opened.fit(open_weights(tmp_path))
    block = opened.blocks[0]
    assert weights["embed_tokens.weight"].dtype == torch.bfloat16
    assert {tensor.dtype for tensor in block.of(weights).values()} == {torch.float32}
    rotated = AutoModel.from_config(config_of("Llama")).rotary_emb.inv_freq
    assert torch.equal(opened.module.rotary_emb.inv_freq, rotated)


@pytest.mark.parametrize("prefix", ["", "vision_model."])
def test_a_whole_clip_as_base_of_image_towers_of_both_key_styles(tmp_path, prefix):
    text = {**SIZES, "vocab_size": 30, "max_position_embeddings": 12, "projection_dim": 6}
    config = transformers.CLIPConfig(text_config=text, vision_config={**IMAGE, "projection_dim": 6}, projection_dim=6)
    torch.manual_seed(0)
    whole = transformers.CLIPModel(config).eval()
    whole.save_pretrained(tmp_path / "base")
    tower = AutoModel.from_config(whole.vision_model.config).eval()
    (tmp_path / "task").mkdir()
    save_file(
        {prefix + key: tensor for key, tensor in tower.state_dict().items()}, tmp_path / "task" / "model.safetensors"
    )
    opened = open_transformers_model(tmp_path / "base")
    base = opened.fit(open_weights(tmp_path / "base"))
    task = opened.fit(open_weights(tmp_path / "task"), base=base)
    assert set(base) == set(task) == set(opened.expected) and "text_model.final_layer_norm.weight" in base.left_out
    images = inputs_of("CLIPVision")
    with torch.no_grad():
        features = opened.load(base)(**images).image_embeds
        expected = whole.get_image_features(**images)
        expected = expected if isinstance(expected, torch.Tensor) else expected.pooler_output
        assert torch.allclose(features, expected, atol=1e-5)
        embeds = opened.load(task)(**images).image_embeds
        pooled = tower(**images).pooler_output
    assert torch.allclose(embeds, pooled @ whole.visual_projection.weight.T, atol=1e-5)


def test_a_finetuned_classifier_fits_its_base_without_the_head(tmp_path):
    torch.manual_seed(0)
    config = transformers.RobertaConfig(**CONFIGS["Roberta"], num_labels=3)
    tuned = transformers.RobertaForSequenceClassification(config)
    tuned.save_pretrained(tmp_path)
    opened = open_transformers_model(tmp_path)
    weights = opened.fit(open_weights(tmp_path))
    state = tuned.roberta.state_dict()
    assert set(weights) == set(state) and all(torch.equal(weights[key], tensor) for key, tensor in state.items())
    assert "pooler.dense.weight" in opened.expected  # such a classifier has none
    assert set(weights.left_out) == {key for key in tuned.state_dict() if key.startswith("classifier")}
    transformers.RobertaModel(config).save_pretrained(
        tmp_path / "base"
    )  # has a pooler, which the base gives the classifier
    base = opened.fit(open_weights(tmp_path / "base"))
    task = opened.fit(open_weights(tmp_path), base=base)
    assert set(task) == set(base) == set(opened.expected)
    assert torch.equal(task["pooler.dense.weight"], base["pooler.dense.weight"])
    assert set(opened.fit(open_weights(tmp_path / "base"), base=weights)) == set(weights)


def test_names_of_older_versions_are_understood(tmp_path):
    """BERT's published checkpoints call the parameters of norms gamma and beta; ViT's called its layers otherwise."""
    for name, renamings in (
        ("Bert", {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}),
        ("ViT", {"layers.": "encoder.layer.", "attention.q_proj": "attention.attention.query"}),
    ):
        model = model_of(name)
        state = model.state_dict()
        if name == "ViT":
            renamings |= {
                "attention.k_proj": "attention.attention.key",
                "attention.v_proj": "attention.attention.value",
            }
            renamings |= {"attention.o_proj": "attention.output.dense", "mlp.fc1": "intermediate.dense"}
            renamings |= {"mlp.fc2": "output.dense"}
        old = {}
        for key, tensor in state.items():
            for new, before in renamings.items():
                key = key.replace(new, before)
            old["bert." * (name == "Bert") + key] = tensor
        assert not set(old) <= set(state)
        folder = tmp_path / name
        model.config.save_pretrained(folder)
        save_file(old, folder / "model.safetensors")
        weights = open_transformers_model(folder).fit(open_weights(folder))
        assert set(weights) == set(state) and all(torch.equal(weights[key], tensor) for key, tensor in state.items())


def test_checkpoints_of_another_architecture_are_told(tmp_path):
    model_of("Bert").save_pretrained(tmp_path / "bert")
    model_of("Llama").save_pretrained(tmp_path / "llama")
    wide = AutoModel.from_config(transformers.LlamaConfig(**{**DECODER, "intermediate_size": 32}))
    wide.save_pretrained(tmp_path / "wide")
    opened = open_transformers_model(tmp_path / "llama")
    with pytest.raises(UserError, match=r"bert/model.safetensors has no tensor embed_tokens.weight"):
        opened.fit(open_weights(tmp_path / "bert"))
    with pytest.raises(UserError, match=r"wide/model.safetensors: tensor .*mlp.* has shape .* is expected"):
        opened.fit(open_weights(tmp_path / "wide"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"auto_map": {"AutoModel": "modeling_evil.EvilModel"}}, r"brings code of its own \(`auto_map`\)"),
        (
            {"auto_map": {"AutoConfig": "stranger/repo--configuration.Evil"}, "model_type": "evil"},
            "brings code of its own",
        ),
        ({"text_config": {"auto_map": {"AutoModel": "a.B"}}}, "brings code of its own"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, r"is quantised"),
        ({"use_timm_backbone": True}, "needs a backbone from timm"),
        ({"backbone": "resnet50"}, "needs another model as its backbone"),
        ({"model_type": "invented"}, "transformers cannot read"),
        ({"model_type": None}, "names no model_type"),
        ({"num_attention_heads": 3}, "transformers cannot (read|build)"),
        ({"hidden_act": "os.system"}, "transformers cannot (read|build)"),
        ({"hidden_size": "many"}, "transformers cannot (read|build)"),
    ],
)
def test_configs_that_are_refused(tmp_path, change, sentence):
    canary = tmp_path / "canary"
    config_of("Bert").save_pretrained(tmp_path)
    fields = json.loads((tmp_path / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(fields))
    for module in ("modeling_evil.py", "configuration.py", "a.py"):
        (tmp_path / module).write_text(f"open({str(canary)!r}, 'w')\n")
    with pytest.raises(UserError, match=sentence) as caught:
        open_transformers_model(tmp_path)
    assert "config.json" in str(caught.value) and "\n" not in str(caught.value)
    assert not canary.exists()


def test_folders_without_a_config(tmp_path):
    with pytest.raises(UserError, match=r"holds no config.json"):
        open_transformers_model(tmp_path)
    for text in ("", "[]", "{", "{}", "[" * 100_000):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match=r"config.json is not the config of a transformers model"):
            open_transformers_model(tmp_path)


def test_a_model_larger_than_memory_is_opened_without_its_weights():
    import resource

    config = transformers.LlamaConfig(
        hidden_size=5120, intermediate_size=13824, num_hidden_layers=40, num_attention_heads=40
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = build_on_meta(config, Path())
    blocks = transformer_blocks(model, part="mlp")
    assert len(blocks) == 40 and blocks[0].shapes["up_proj.weight"] == (13824, 5120)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KB; the weights are 52 GB

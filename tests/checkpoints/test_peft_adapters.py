"""Adapters that PEFT itself made and saved, against the logits that PEFT's own model gives."""

import re
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from fda.checkpoints.weights import Checkpoint
from fda.cli import app as cli
from fda.merging.merge import merge_to_file
from fda.merging.registry import METHODS
from fda.requests.preview import preview
from fda.stages.adapter_frame import frame_of
from fda.stages.export import export_model, whole_folder
from fda.tasks.data import load_split
from fda.tasks.heads import task_head
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo
from tests.support.library_zoos import PICTURES, image_zoo, text_zoo

peft = pytest.importorskip("peft", reason="peft is installed from tests/requirements-no-deps.txt")
pytestmark = pytest.mark.filterwarnings(
    "ignore:Setting `save_embedding_layers`", "ignore:Model has `tie_word_embeddings"
)

ROBERTA = ("roberta", "RobertaForSequenceClassification")
DISTILBERT = ("distilbert", "DistilBertForSequenceClassification")
GPT2, GEMMA = ("gpt2", "GPT2LMHeadModel"), ("gemma", "GemmaForCausalLM")
LLAMA, QWEN = ("llama", "LlamaForCausalLM"), ("qwen2", "Qwen2ForCausalLM")
VIT, DINO = ("vit", "ViTForImageClassification"), ("dinov2", "Dinov2ForImageClassification")


def adapted(folder, architecture: str, headed: str, **options):
    """A zoo whose first task is an adapter with random numbers, and PEFT's model of it."""
    images, causal = architecture in PICTURES, "Classification" not in headed
    path = image_zoo(folder, architecture) if images else text_zoo(folder, architecture, headed=headed)
    of = getattr(transformers, headed)
    torch.manual_seed(1)
    model = of.from_pretrained(folder / "base", **({} if causal else {"num_labels": 2}), attn_implementation="eager")
    if causal:
        model.save_pretrained(folder / "base")  # with the head that the adapter is over
    kind = "CAUSAL_LM" if causal else None if images else "SEQ_CLS"
    made = peft.get_peft_model(model, peft.LoraConfig(task_type=kind, r=2, lora_alpha=6, **options))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    shutil.rmtree(folder / "first")
    made.eval().save_pretrained(folder / "first")
    return path, made


def answers(model, batch) -> torch.Tensor:
    """The logits of a model of the library; of next tokens, those of real tokens."""
    with torch.no_grad():
        if isinstance(batch, torch.Tensor):
            return model(pixel_values=batch).logits
        logits = model(input_ids=batch.ids, attention_mask=batch.mask.long()).logits
    return logits if logits.ndim == 2 else logits[batch.mask]


def own_answers(path) -> tuple[torch.Tensor, object]:
    """What the zoo's first task answers here, and the batch."""
    opened = open_zoo(load_zoo(path))
    batch = load_split(opened.zoo.task("first"), "test", opened.model.transform).images(8)
    opened.model.load(opened.tasks["first"])
    logits = task_head(opened, "first").answer(opened.model, batch)
    return logits if logits.ndim == 2 else logits[batch.mask], batch


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (ROBERTA, {"target_modules": ["query", "value"]}),
        (ROBERTA, {"target_modules": ["query", "value"], "use_rslora": True}),
        (ROBERTA, {"target_modules": "all-linear", "alpha_pattern": {"query": 16}, "rank_pattern": {"value": 4}}),
        (ROBERTA, {"target_modules": ["query"], "bias": "all"}),
        (ROBERTA, {"target_modules": ["query"], "bias": "lora_only"}),
        (DISTILBERT, {"target_modules": ["q_lin"]}),
        (QWEN, {"target_modules": ["q_proj"], "bias": "lora_only"}),
        (GPT2, {"target_modules": ["c_attn"], "fan_in_fan_out": True}),
        (LLAMA, {"target_modules": ["q_proj", "embed_tokens"]}),
        (LLAMA, {"target_modules": ["q_proj", "lm_head"]}),
        (LLAMA, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]}),
        (VIT, {"target_modules": ["q_proj", "v_proj"], "modules_to_save": ["classifier"]}),
        (DINO, {"target_modules": ["q_proj", "fc1"], "modules_to_save": ["classifier"]}),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "-".join(f"{k}={v}" for k, v in value.items()),
)
def test_an_adapter_answers_as_in_peft(tmp_path, model, options):
    path, made = adapted(tmp_path, *model, **options)
    own, batch = own_answers(path)
    assert torch.allclose(own, answers(made, batch), atol=1e-5)
    assert not preview(load_zoo(path)).problems


TIED = [
    (GPT2, {"target_modules": ["c_attn", "wte"], "fan_in_fan_out": True}),
    (GEMMA, {"target_modules": ["q_proj", "embed_tokens"]}),
    (GEMMA, {"target_modules": ["q_proj", "lm_head"]}),
    (GEMMA, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}),
    (GEMMA, {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
    (GEMMA, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]}),
    (GEMMA, {"target_modules": ["q_proj", "embed_tokens"], "ensure_weight_tying": True}),
    (GEMMA, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}),
]


@pytest.mark.parametrize(
    ("model", "options"), TIED, ids=lambda value: str(value) if isinstance(value, dict) else value[0]
)
def test_a_head_that_shares_its_matrix_with_adapted_embeddings_is_what_peft_makes_of_it(tmp_path, model, options):
    path, made = adapted(tmp_path, *model, **options)
    assert made.config.tie_word_embeddings
    own, batch = own_answers(path)
    assert torch.allclose(own, answers(made, batch), atol=1e-4)
    opened = open_zoo(load_zoo(path))
    merge_to_file(METHODS["ta"], opened.base, list(opened.tasks.values()), tmp_path / "ta.safetensors", {})
    with whole_folder(tmp_path / "out") as folder:
        export_model(frame_of(opened, "first"), Checkpoint(tmp_path / "ta.safetensors"), folder)
    opened.model.load(load_file(tmp_path / "ta.safetensors"))
    merged = task_head(opened, "first").answer(opened.model, batch)[batch.mask]
    loaded = getattr(transformers, model[1]).from_pretrained(tmp_path / "out", attn_implementation="eager").eval()
    assert torch.allclose(answers(loaded, batch), merged, atol=1e-4)


@pytest.mark.parametrize("model", [VIT, DINO], ids=lambda model: model[0])
def test_an_adapter_of_another_version_of_the_library_finds_its_layers(tmp_path, model):
    """Trained under version 5, or under version 4, whose names the files of bases have still."""
    path, made = adapted(tmp_path, *model, target_modules=["q_proj"], modules_to_save=["classifier"], bias="all")
    own, batch = own_answers(path)
    assert torch.allclose(own, answers(made, batch), atol=1e-5)

    opened, base = open_zoo(load_zoo(path)), load_file(tmp_path / "base" / "model.safetensors")
    query = next(name for name in opened.base if name.endswith("0.attention.q_proj.weight"))
    out = tmp_path / "whole.safetensors"
    done = CliRunner().invoke(cli.app, ["convert", str(tmp_path / "first"), str(out), "--base", str(tmp_path / "base")])
    assert done.exit_code == 0, done.output
    written, stored = load_file(out), opened.base.names[query]
    assert set(base) < set(written) and torch.equal(written[stored], opened.tasks["first"][query])
    assert stored != query and not torch.equal(written[stored], base[stored])

    file, prefix = tmp_path / "first" / "adapter_model.safetensors", f"base_model.model.{model[0]}."

    def older(name: str) -> str:
        layer, rest = re.split(r"\.(?=lora_|base_layer|bias$|weight$)", name.removeprefix(prefix), maxsplit=1)
        found = opened.base.names.get(f"{layer}.weight")
        return prefix + found.removesuffix("weight") + rest if found else name

    tensors = {older(name): tensor for name, tensor in load_file(file).items()}
    assert any(name.endswith("attention.attention.query.lora_A.weight") for name in tensors)
    save_file(tensors, file)
    assert torch.equal(own, own_answers(path)[0])

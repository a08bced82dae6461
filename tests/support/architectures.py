"""A tiny config for every architecture of the installed transformers library that allows one, and what becomes of it here.

The classes are those of the library's own lists: sequence classification, image classification, causal language models.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
import yaml
from transformers.models.auto import modeling_auto as auto

from fda.architectures.transformers_model import open_transformers_model
from fda.architectures.transforms import TextBatch
from fda.errors import UserError
from fda.tasks.heads import task_head
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo
from tests.support.library_zoos import ENDS, VOCABULARY

LISTS = {
    "image": auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    "text": auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    "causal": auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
}
MOST_PARAMETERS = 2_000_000
TOLERANCE = 1e-5
# Field of a config (a pattern of its whole name) → its tiny value. The first that matches counts.
TINY: tuple[tuple[str, Any], ...] = (
    (r"vocab_size|.*_vocab_size_.*|vocab_size_.*", VOCABULARY),
    (r"hidden_sizes|embed_dims?|depths|num_heads|.*_ratios|sr_ratios|patch_sizes|strides|.*_stages.*", None),
    (r"num_(hidden_|encoder_|decoder_)?layers|n_layers?|(encoder|decoder)_layers|num_blocks", 2),
    (r"hidden_size|d_model|n_embd|dim|emb_dim|embedding_size|word_embed_proj_dim|conv_dim|attention_hidden_size", 16),
    (r"(.*intermediate_size|.*ffn_dim|hidden_dim|n_inner|d_ff|.*ffn_hidden_size|feed_forward_size|d_inner)", 24),
    (r"(num_|n_|.*_)?(attention_)?heads?|num_attention_heads|n_head", 4),
    (r"num_key_value_heads|num_kv_heads", 2),
    (r"(.*_)?head_dim|d_kv|d_head", 4),
    (r"max_position_embeddings|n_positions|max_seq_len|max_seq_length|n_ctx", 24),
    (r"(num_|n_)?(local_|routed_)?experts", 4),
    (r"num_experts_per_tok|moe_topk|moe_k", 2),
    (r"image_size", 8),
    (r"patch_size", 4),
)


def tiny_fields(config: Any) -> dict[str, Any]:
    """The fields of a default config that make it tiny."""
    fields: dict[str, Any] = {}
    for name, value in config.to_dict().items():
        if isinstance(getattr(config, name, None), transformers.PreTrainedConfig):
            fields[name] = tiny_fields(getattr(config, name))
        elif isinstance(value, int) and not isinstance(value, bool):
            found = next((tiny for pattern, tiny in TINY if re.fullmatch(pattern, name)), None)
            if found is not None and found < value:
                fields[name] = found
    return fields


def tiny_config(model_type: str) -> Any:
    """A config of this architecture with 21 tokens, two layers and a width of 16, as far as its fields have the usual names."""
    kind = transformers.CONFIG_MAPPING[model_type]
    fields = tiny_fields(kind())
    known = kind().to_dict()
    fields |= {name: value for name, value in ENDS.items() if isinstance(known.get(name), int | None) and name in known}
    return kind(**(fields | OVERRIDES.get(model_type, {})))


OVERRIDES: dict[str, dict[str, Any]] = {}


def classes() -> Iterator[tuple[str, str, str]]:
    """(model type, class, "image" | "text" | "causal") of every class in the library's lists."""
    for kind, names in LISTS.items():
        for model_type, found in names.items():
            for name in (found,) if isinstance(found, str) else found:
                yield model_type, name, kind


def tiny_model(model_type: str, name: str) -> torch.nn.Module | None:
    """The class with random weights; None where the generic config makes no small one."""
    try:
        config = tiny_config(model_type)
        whole = getattr(transformers, name)
        with torch.device("meta"):
            count = sum(one.numel() for one in whole(config).parameters())
        if count > MOST_PARAMETERS:
            return None
        torch.manual_seed(0)
        model = whole(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
            for part in model.modules():
                if isinstance(part, torch.nn.Embedding) and part.padding_idx is not None:
                    part.weight[part.padding_idx] = 0  # training leaves it so, and some classes make it so as they load
    except Exception:  # the config's class knows best which values belong together
        return None
    return model


def batch_for(kind: str, config: Any) -> Any:
    if kind == "image":
        size = getattr(config, "image_size", None) or getattr(getattr(config, "vision_config", None), "image_size", 32)
        size = (size, size) if isinstance(size, int) else tuple(size)
        return torch.randn(3, getattr(config, "num_channels", 3), *size, generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([[1, 7, 9, 12, 5, 2], [1, 8, 6, 2, 0, 0], [1, 15, 14, 13, 2, 0]])
    return TextBatch(ids, ids != 0)


def outcome(model_type: str, name: str, kind: str, folder: Path) -> str | None:
    """What becomes of the class: "runs", or the sentence of a UserError; None where the generic config makes no small one.

    Runs: the logits of an opened task are the library's, loaded from the same folder. AssertionError if they are not; any
    other exception is a fault.
    """
    model = tiny_model(model_type, name)
    if model is None:
        return unbuilt(model_type, name, folder)
    for one in ("base", "task"):
        model.save_pretrained(folder / one)
    content = {"name": "tiny", "base": {"model": "base"}, "tasks": [{"name": "task", "model": "task"}]}
    (folder / "zoo.yaml").write_text(yaml.safe_dump(content))
    batch = batch_for(kind, model.config)
    try:
        opened = open_zoo(load_zoo(folder / "zoo.yaml"))
        if opened.model.images != (kind == "image"):
            _ = opened.model.transform  # there is none for the other kind of samples
        opened.model.load(opened.tasks["task"])
        with torch.no_grad():
            own = task_head(opened, "task").answer(opened.model, batch)
    except UserError as error:
        return str(error).replace(str(folder), "…")
    except Exception:
        if not answers(model, batch):
            return None  # the library does not know what to do with such sizes either
        raise
    if not answers(model, batch):
        return None
    expected = library_logits(folder / "task", batch)
    assert own.shape == expected.shape, f"{tuple(own.shape)} where the library gives {tuple(expected.shape)}"
    real = batch.mask if isinstance(batch, TextBatch) and own.ndim == 3 else torch.ones(len(own), dtype=torch.bool)
    difference = (own[real] - expected[real]).abs().max().item()
    assert difference <= TOLERANCE, f"logits differ from the library's by {difference:.1e}"
    return "runs"


def unbuilt(model_type: str, name: str, folder: Path) -> str | None:
    """The sentence on the blocks of the library's default config; None if they are found."""
    try:
        config = transformers.CONFIG_MAPPING[model_type](architectures=[name])
        config.save_pretrained(folder)
    except Exception:  # it has no default
        return None
    try:
        open_transformers_model(folder)
    except UserError as error:
        return str(error).replace(str(folder), "…/base")
    return None


def answers(model: torch.nn.Module, batch: Any) -> bool:
    """Whether the library's own class takes this batch."""
    try:
        answered(model, batch)
    except Exception:  # whatever a class does with sizes or inputs that it was not written for
        return False
    return True


def library_logits(folder: Path, batch: Any) -> torch.Tensor:
    """By the class that the folder's config names."""
    kind = json.loads((folder / "config.json").read_text())["architectures"][0]
    whole = getattr(transformers, kind)
    try:
        model = whole.from_pretrained(folder, attn_implementation="eager").eval()
    except ValueError:
        model = whole.from_pretrained(folder).eval()
    return answered(model, batch)


@torch.no_grad()
def answered(model: torch.nn.Module, batch: Any) -> torch.Tensor:
    if isinstance(batch, torch.Tensor):
        return model(pixel_values=batch).logits
    return model(input_ids=batch.ids, attention_mask=batch.mask.long()).logits


# The outcomes as docs/architectures.md tells them.

TITLES = {"image": "Image classification", "text": "Sequence classification", "causal": "Causal language models"}
INTRODUCTION = """# Architectures

Every class of transformers {version} for image classification, sequence classification and causal language models, tried with
a tiny config of the usual field names: a checkpoint is saved, opened and answered. **runs**: its logits are the library's
within 1e-5. Otherwise the sentence that the program says. Made by
`python -m pytest tests/architectures/test_architectures.py -m architectures`.

"""


def document(outcomes: dict[tuple[str, str, str], str | None]) -> str:
    """The outcomes of all classes by (model type, class, kind), as Markdown."""
    text = INTRODUCTION.format(version=transformers.__version__)
    for kind, title in TITLES.items():
        rows = {key: found for key, found in sorted(outcomes.items()) if key[2] == kind}
        tried = {key: found for key, found in rows.items() if found is not None}
        count = sum(found == "runs" for found in tried.values())
        text += f"## {title}\n\n{count} of {len(tried)} run.\n\n| architecture | class | |\n|---|---|---|\n"
        text += "".join(f"| {key[0]} | {key[1]} | {cell(found)} |\n" for key, found in tried.items())
        rest = ", ".join(key[1] for key, found in rows.items() if found is None)
        text += f"\nNot tried, for want of a tiny config: {rest or 'none'}.\n\n"
    return text.rstrip() + "\n"


def cell(found: str) -> str:
    return "**runs**" if found == "runs" else found.replace("|", "\\|")


def documented(text: str) -> dict[tuple[str, str], str]:
    """(model type, class) → what its row in the document says."""
    rows = (line.strip("|\n ").split(" | ", 2) for line in text.splitlines() if line.startswith("| "))
    return {(row[0], row[1]): row[2] for row in rows if len(row) == 3 and row[1] != "class"}

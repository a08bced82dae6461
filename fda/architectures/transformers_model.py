"""Build the architecture that a local folder's config.json describes, without weights, memory or code of its own.

Only classes of the installed transformers library are used, nothing is downloaded, and parameters stay on the meta device until
`load` puts weights in. Finding the blocks: `fda.architectures.transformer_blocks`; reading weights: `fda.checkpoints.readers`.
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fda.architectures.blocks import Block
from fda.architectures.disagreements import agreed, unused
from fda.architectures.model import Model
from fda.architectures.supply import config_size, text_positions
from fda.architectures.transformer_blocks import Part, transformer_blocks
from fda.architectures.transforms import (
    IMAGE_FILES,
    Batch,
    ImageSize,
    Transform,
    checkpoint_transform,
    processed_size,
    size_text,
)
from fda.checkpoints.json_files import read_json
from fda.checkpoints.readers.names import best_prefix, fitted, named
from fda.checkpoints.weights import Weights
from fda.errors import Misfit, UserError

CONFIG = "config.json"
USUAL_SIDE = 224  # pixels of an image that a processor is tried on, where the config names none
# Parts that some checkpoints of an architecture lack, because the task they were trained on has no use for them.
OPTIONAL_PARTS = ("pooler.", "visual_projection.", "mask_token")
TIED_HEADS = ("lm_head.weight", "embed_out.weight", "lm_head.decoder.weight", "predictions.decoder.weight")
# Fields by which a config asks for other models or code when it is built.
_REACHES_OUT = {
    "auto_map": "brings code of its own",
    "quantization_config": "is quantised",
    "use_pretrained_backbone": "loads a backbone from elsewhere",
    "use_timm_backbone": "needs a backbone from timm",
    "backbone": "needs another model as its backbone",
}


@dataclass(frozen=True)
class TransformersModel(Model):
    """An architecture of the transformers library: the base model, without the head of any task.

    `layout`: whether query, key and value have one weight each ("split qkv") or share one ("fused qkv"). `folders`: where its
    processor or tokenizer is looked for. `notes`, `changed`: as of `Agreed`. Parameters lie on the meta device until `load`.
    `processed`: what its image processor makes of images; `refused`: why the model does not take them, in a sentence.
    """

    module: nn.Module = field(repr=False)
    config: Any = field(repr=False)
    blocks: tuple[Block, ...]
    layout: str
    folders: tuple[Path, ...] = ()
    kind: str = "transformers"
    notes: tuple[str, ...] = ()
    changed: Mapping[str, Any] = field(default_factory=dict)
    part: Part = "block"
    processed: ImageSize | None = None
    token_source: str = ""
    refused: str | None = None

    @property
    def identity(self) -> str:
        told = json.dumps(self.config.to_dict(), sort_keys=True, default=str)
        return hashlib.sha256(f"{type(self.module).__name__} {told}".encode()).hexdigest()[:32]

    @property
    def images(self) -> bool:
        """Whether it takes images; else it takes texts."""
        return "pixel_values" in inspect.signature(self.module.forward).parameters

    @property
    def causal(self) -> bool:
        """Whether a token sees only those before it."""
        return has_language_head(self.config)

    @cached_property
    def transform(self) -> Transform:
        """The processor or tokenizer of the first folder that has one. UserError if it makes images that are not taken."""
        if self.refused is not None:
            raise UserError(self.refused)
        positions = None if self.images else text_positions(self.module)
        segmented = "token_type_ids" in inspect.signature(self.module.forward).parameters
        one = getattr(self.config, "type_vocab_size", 2) < 2  # as RoBERTa has; GPT-2 has none of its own
        segmented = segmented and not one and not self.causal
        return checkpoint_transform(
            self.folders, self.config, images=self.images, positions=positions, segmented=segmented
        )

    def of_images(self, size: tuple[int, int], whose: str) -> "TransformersModel":
        """The same model with its tokens counted on images of this size (height, width). UserError if it takes none such."""
        blocks = transformer_blocks(self.module, part=self.part, size=size)
        processed = None if self.processed is None else ImageSize(size)
        return replace(self, blocks=blocks, processed=processed, token_source=_source(size, whose, self.config))

    @property
    def expected(self) -> dict[str, tuple[int, ...]]:
        """Name → shape of every tensor in the state dict."""
        return {name: tuple(tensor.shape) for name, tensor in self.module.state_dict().items()}

    @property
    def embeddings(self) -> str | None:
        matrix = getattr(self.module.get_input_embeddings(), "weight", None)
        return next((name for name, own in self.module.named_parameters() if own is matrix and own.ndim == 2), None)

    @cached_property
    def rename(self) -> Callable[[str], str]:
        return library_names(self.module)

    def fit(self, weights: Weights, *, base: Weights | None = None) -> Weights:
        """A checkpoint's weights under this architecture's names: prefixes, older names, heads and other towers left out.

        `base`: fitted weights that give the optional parts which this checkpoint lacks (pooler, visual projection); those
        that the base lacks itself are left out, so that both have the same tensors. Embeddings of tokens that were added to
        a task's vocabulary are left out too: the other checkpoints know no such tokens. Of a task whose vocabulary was cut, the
        rows that its tokenizer never asks for are the base's.
        UserError if it is no checkpoint of this architecture.
        """
        expected = {name: shape for name, shape in self.expected.items() if base is None or name in base}
        optional = {name for name in expected if self.may_lack(name)}
        grown = {self.embeddings} - {None}
        try:
            return fitted(
                weights,
                expected,
                rename=self._names_in(weights, expected),
                optional=optional,
                rest=base,
                grown=grown,
                enough=lambda _, rows: rows >= self.tokens_used,
            )
        except Misfit:
            if converted := library_converts(self.module, weights):
                raise Misfit([converted]) from None
            raise

    def _names_in(self, weights: Weights, expected: Mapping[str, tuple[int, ...]]) -> Callable[[str], str]:
        """The library's renamings; where a file keeps a tied matrix only as the head's, that is the embeddings."""
        rename, embeddings = self.rename, self.embeddings
        tied = getattr(self.config, "tie_word_embeddings", False)
        if not tied or embeddings is None or named(weights, embeddings, rename) is not None:
            return rename
        head = next((name for name in weights if name.endswith(TIED_HEADS)), None)
        off, on = best_prefix(weights, {rename(name): name for name in weights}, expected)
        return lambda name: off + embeddings.removeprefix(on) if name == head else rename(name)

    @cached_property
    def tokens_used(self) -> int | float:
        """How many rows of the embeddings its tokenizer can ask for; infinite if no tokenizer tells it."""
        try:
            vocabulary = self.transform.tokenizer.get_vocab()
        except (UserError, AttributeError):
            return inf
        return max(vocabulary.values(), default=-1) + 1

    def may_lack(self, name: str) -> bool:
        return any(part in name for part in OPTIONAL_PARTS)

    def load(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """Copy these fitted weights into the module, as float32; optional parts that they lack are zero."""
        give_memory(self.module)
        own = self.module.state_dict()
        if unknown := set(weights) - own.keys():
            raise ValueError(f"not this module's weights: {sorted(unknown)[:3]}")
        for name, tensor in own.items():
            if name in weights:
                tensor.copy_(weights[name])
            elif self.may_lack(name):
                tensor.zero_()
            elif tensor.is_floating_point():
                raise ValueError(f"weights lack {name}")
        return self.module

    def to(self, device: str | torch.device) -> None:
        give_memory(self.module)
        self.module.to(device)

    def outputs(self, batch: Batch) -> Any:
        """The library's own output of the base model: last hidden state, pooled output and whatever else it has."""
        if isinstance(batch, Tensor):
            return self.module(pixel_values=batch)
        given = {"input_ids": batch.ids, "attention_mask": batch.mask.long()}
        if batch.segments is not None:
            given["token_type_ids"] = batch.segments
        if "use_cache" in inspect.signature(self.module.forward).parameters:
            given["use_cache"] = False
        return self.module(**given)

    def features(self, batch: Batch) -> Tensor:
        """(batch, embedding): CLIP's projected embedding, else the pooled output, else the first token's hidden state.

        Of a causal language model the last token's, the only one that has seen the whole text.
        """
        found = self.outputs(batch)
        for name in ("image_embeds", "pooler_output"):
            if getattr(found, name, None) is not None:
                return found[name]
        hidden = found.last_hidden_state
        if not self.causal or isinstance(batch, Tensor):
            return hidden[:, 0]
        return hidden[torch.arange(len(hidden), device=hidden.device), batch.mask.sum(dim=1) - 1]


def give_memory(module: nn.Module, names: Collection[str] | None = None) -> None:
    """Take the parameters that lie on the meta device to the CPU, with no values yet; with `names`, only these."""
    for path, part in module.named_modules():
        for name, parameter in part._parameters.items():
            asked = names is None or f"{path}.{name}".removeprefix(".") in names
            if asked and parameter is not None and parameter.is_meta:
                real = torch.empty_like(parameter, device="cpu")
                part._parameters[name] = nn.Parameter(real, requires_grad=False)


def has_language_head(config: Any) -> bool:
    """Whether the installed library has a causal language model of this architecture that is none of its encoders'."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    return type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING


def open_transformers_model(
    folder: str | Path,
    *,
    part: Part = "block",
    tokens: int | None = None,
    others: Sequence[Path] = (),
    weights: Weights | None = None,
) -> TransformersModel:
    """The architecture of a folder's config.json and its blocks. Of a CLIP model, the image tower and its projection.

    `part` and `tokens` as for `transformer_blocks`; `others`: folders whose processor serves if this one brings none;
    `weights`: the checkpoint's, whose counts of tokens and positions win over the config's.
    UserError if the config asks for code or models from elsewhere, if it is none that the installed transformers library
    knows, or if its blocks do not fit.
    """
    config, path = read_config(Path(folder)), Path(folder) / CONFIG
    changed, notes = {}, ()
    if weights is None or config is not merged_part(config):
        module = build_on_meta(config, Path(folder))
    else:
        found = agreed(config, weights, lambda one: build_on_meta(one, Path(folder)), library_names, path)
        config, module, changed, notes = found.config, found.module, found.changed, found.notes
    _require_one_stack(module, config, path)
    folders = (Path(folder), *(one for one in others if one.is_dir()))
    if "pixel_values" in inspect.signature(module.forward).parameters:
        blocks, seen = _image_blocks(module, folders, part, tokens)
    else:
        blocks, seen = transformer_blocks(module, part=part, tokens=tokens), {}
    if weights is not None and config is merged_part(config):
        notes = (*notes, *_left_out(weights, module, blocks[0], path))
    layout = _layout(module, blocks[0])
    return TransformersModel(module, config, blocks, layout, folders, notes=notes, changed=changed, part=part, **seen)


def _image_blocks(
    module: nn.Module, folders: Sequence[Path], part: Part, tokens: int | None
) -> tuple[tuple[Block, ...], dict[str, Any]]:
    """The blocks for images as their processor makes them, and the model's fields on that: processed, token_source, refused."""
    own = config_size(module.config)
    processed, refused = processed_size(folders, own[0] if own else USUAL_SIDE), None
    try:
        blocks = transformer_blocks(module, part=part, tokens=tokens, size=processed and processed.size)
    except UserError:
        if processed is None or own in (None, processed.size):
            raise
        blocks = transformer_blocks(module, part=part, tokens=tokens)
        refused = (
            f"the image processor in {_processor_folder(folders)} makes images of {size_text(processed.size)}, but the model "
            f"takes {size_text(own)} only: correct the sizes in its {IMAGE_FILES[0]}."
        )
    if processed is None or refused is not None:
        source = f"images of {size_text(own)}, as its config says" + (": it has no image processor" * (not refused))
    else:
        whose = "its image processor makes" + (" of square ones" if processed.varies else "")
        source = _source(processed.size, whose, module.config)
    return blocks, {"processed": processed, "token_source": source, "refused": refused}


def _left_out(weights: Weights, module: nn.Module, block: Block, path: Path) -> list[str]:
    """A note on tensors that lie in the blocks and have no place there: further blocks, biases that the config denies."""
    blocks, rename = block.prefix[: block.prefix.rindex("0.")], library_names(module)
    left = [name for name in unused(weights, module, rename) if f".{blocks}" in f".{rename(name)}"]
    if not left:
        return []
    return [
        f"{weights.path}: {len(left)} tensors of its blocks have no place in the model that {path} describes, and are left "
        f"out, as the library leaves them out: the first is {left[0]}."
    ]


def _require_one_stack(module: nn.Module, config: Any, path: Path) -> None:
    """UserError for kinds of models whose blocks cannot be told from one another."""
    name = type(module).__name__
    if config.is_encoder_decoder or (hasattr(module, "encoder") and hasattr(module, "decoder")):
        raise UserError(
            f"{path} describes an encoder–decoder model ({name}), which is not read: give a model of one stack of blocks, an "
            "encoder or a decoder alone."
        )
    inputs = inspect.signature(module.forward).parameters
    if "pixel_values" in inputs and "input_ids" in inputs:
        raise UserError(
            f"{path} describes a model of images and texts together ({name}), which is not read: give a model of either "
            "alone, such as its text model or its image tower saved by itself."
        )


def _source(size: tuple[int, int], whose: str, config: Any) -> str:
    """The images whose tokens are counted, in words: with the config's, where these are others."""
    own = config_size(config)
    other = "" if own in (None, size) else f"; its config speaks of {size_text(own)}"
    return f"images of {size_text(size)}, as {whose}{other}"


def _processor_folder(folders: Sequence[Path]) -> Path:
    return next(folder for folder in folders if any((folder / name).is_file() for name in IMAGE_FILES))


def read_config(folder: Path) -> Any:
    """A folder's config as transformers reads it. UserError if it would reach for anything outside the folder."""
    from transformers import AutoConfig

    path = folder / CONFIG
    if not path.is_file():
        raise UserError(f"{folder} holds no {CONFIG}: give the folder of a model saved by transformers.")
    try:
        fields = read_json(path)
        if not isinstance(fields, dict) or not isinstance(fields.get("model_type"), str):
            raise ValueError("it names no model_type")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not the config of a transformers model ({error}): download it again.") from None
    for name, what in _REACHES_OUT.items():
        if _anywhere(fields, name):
            raise UserError(
                f"{path} {what} (`{name}`), which is not allowed here: give a checkpoint of an architecture that the "
                "transformers library has built in, with plain weights."
            )
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # configs are checked by code of their class, with errors of any kind
        raise UserError(f"transformers cannot read {path} ({first_line(error)}): correct it.") from None


def merged_part(config: Any) -> Any:
    """The config of what is merged: of a whole CLIP model its image tower, of any other the model."""
    if config.model_type != "clip":
        return config
    config.vision_config.projection_dim = config.projection_dim  # as the whole model reads it
    return config.vision_config


def build_on_meta(config: Any, folder: Path) -> nn.Module:
    """The base model of a config, eval mode: float32 parameters on the meta device, buffers computed and real."""
    from transformers import AutoModel, CLIPVisionModelWithProjection
    from transformers.models.auto.modeling_auto import MODEL_MAPPING
    from transformers.utils import logging as library_logging

    config = deepcopy(config)
    projected = config.model_type == "clip" or "CLIPVisionModelWithProjection" in (config.architectures or ())
    config = merged_part(config)
    if not projected and type(config) not in MODEL_MAPPING:
        raise UserError(
            f"{folder / CONFIG}: transformers has no base model of the type {config.model_type}, only whole models with a "
            "head, so it is not read: docs/architectures.md lists what is."
        )
    level = library_logging.get_verbosity()
    library_logging.set_verbosity_error()  # it warns of everything that a base model lacks
    try:
        with torch.device("meta"):
            if projected:
                options = {"dtype": torch.float32, "attn_implementation": "eager"}
                module = CLIPVisionModelWithProjection._from_config(config, **options)
            else:
                module = AutoModel.from_config(
                    config, trust_remote_code=False, dtype=torch.float32, attn_implementation="eager"
                )
        compute_buffers(module)
    except Exception as error:  # whatever a class does with fields that contradict each other
        raise UserError(f"transformers cannot build {folder / CONFIG} ({first_line(error)}): correct it.") from None
    finally:
        library_logging.set_verbosity(level)
    return module.eval().requires_grad_(False)


def compute_buffers(module: nn.Module) -> None:
    """Give the buffers their values (rotary frequencies, positions), as transformers does when it loads a checkpoint."""
    for part in module.modules():
        part._is_hf_initialized = False
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = torch.zeros_like(buffer, device="cpu")
    module.initialize_weights()


def library_names(module: nn.Module) -> Callable[[str], str]:
    """The library's own renamings from a checkpoint's names to those of the installed version."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    renamings = [one for one in get_model_conversion_mapping(module) if isinstance(one, WeightRenaming)]
    return lambda name: rename_source_key(name, renamings, [])[0]


def library_converts(module: nn.Module, weights: Weights) -> str | None:
    """One sentence if the library splits, joins or turns tensors of these weights as it loads them, which is not done here."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    mapping = get_model_conversion_mapping(module)
    renamings = [one for one in mapping if isinstance(one, WeightRenaming)]
    converters = [one for one in mapping if isinstance(one, WeightConverter)]
    for name in weights:
        new, converted = rename_source_key(name, renamings, converters)
        if converted is None:
            continue
        if "expert" in new:
            return (
                f"{weights.path} keeps each expert by itself ({name}), and the library joins them as it loads them: a mixture "
                "of experts is not read in this form: give a dense model."
            )
        return (
            f"{weights.path}: the library makes {new} from {name} as it loads it, which is not done here: load the model with "
            "transformers and write `torch.save(model.state_dict(), 'pytorch_model.bin')` beside its config."
        )
    return None


def _layout(module: nn.Module, block: Block) -> str:
    """Fused if the blocks have a weight from d to 3 d. Seen on whole blocks, whatever part is used."""
    names = [name for name, _ in module.named_parameters() if name.startswith(block.prefix.rsplit(".", 2)[0])]
    shapes = (module.get_parameter(name).shape for name in names)
    fused = any(sorted(shape) == [block.width, 3 * block.width] for shape in shapes if len(shape) == 2)
    return "fused qkv" if fused else "split qkv"


def _anywhere(fields: Any, name: str) -> bool:
    """Whether a config or one of its parts has a field that says something."""
    if isinstance(fields, dict):
        return bool(fields.get(name)) or any(_anywhere(value, name) for value in fields.values())
    return isinstance(fields, list) and any(_anywhere(value, name) for value in fields)


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

"""Build the architecture that a local folder's config.json describes, without weights, memory or code of its own.

Only classes of the installed transformers library are used, nothing is downloaded, and parameters stay on the meta device until
`load` puts weights in. Finding the blocks: `fda.architectures.transformer_blocks`; reading weights: `fda.checkpoints.readers`.
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fda.architectures.blocks import Block
from fda.architectures.model import Model
from fda.architectures.supply import text_positions
from fda.architectures.transformer_blocks import Part, transformer_blocks
from fda.architectures.transforms import Batch, Transform, checkpoint_transform
from fda.checkpoints.json_files import read_json
from fda.checkpoints.readers.names import fitted
from fda.checkpoints.weights import Weights
from fda.errors import UserError

CONFIG = "config.json"
# Parts that some checkpoints of an architecture lack, because the task they were trained on has no use for them.
OPTIONAL_PARTS = ("pooler.", "visual_projection.", "mask_token")
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
    processor or tokenizer is looked for. Parameters lie on the meta device until `load`.
    """

    module: nn.Module = field(repr=False)
    config: Any = field(repr=False)
    blocks: tuple[Block, ...]
    layout: str
    folders: tuple[Path, ...] = ()
    kind: str = "transformers"

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
        """The processor or tokenizer of the first folder that has one."""
        positions = None if self.images else text_positions(self.module)
        segmented = "token_type_ids" in inspect.signature(self.module.forward).parameters
        one = getattr(self.config, "type_vocab_size", 2) < 2  # as RoBERTa has; GPT-2 has none of its own
        segmented = segmented and not one and not self.causal
        return checkpoint_transform(
            self.folders, self.config, images=self.images, positions=positions, segmented=segmented
        )

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
        a task's vocabulary are left out too: the other checkpoints know no such tokens.
        UserError if it is no checkpoint of this architecture.
        """
        expected = {name: shape for name, shape in self.expected.items() if base is None or name in base}
        optional = {name for name in expected if self.may_lack(name)}
        grown = {self.embeddings} - {None}
        return fitted(weights, expected, rename=self.rename, optional=optional, rest=base, grown=grown)

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
    folder: str | Path, *, part: Part = "block", tokens: int | None = None, others: Sequence[Path] = ()
) -> TransformersModel:
    """The architecture of a folder's config.json and its blocks. Of a CLIP model, the image tower and its projection.

    `part` and `tokens` as for `transformer_blocks`; `others`: folders whose processor serves if this one brings
    none. UserError if the config asks for code or models from elsewhere, if it is none that the installed transformers library
    knows, or if its blocks do not fit.
    """
    config = read_config(Path(folder))
    module = build_on_meta(config, Path(folder))
    blocks = transformer_blocks(module, part=part, tokens=tokens)
    folders = (Path(folder), *(one for one in others if one.is_dir()))
    return TransformersModel(module, config, blocks, _layout(module, blocks[0]), folders)


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
    from transformers.utils import logging as library_logging

    config = deepcopy(config)
    projected = config.model_type == "clip" or "CLIPVisionModelWithProjection" in (config.architectures or ())
    config = merged_part(config)
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

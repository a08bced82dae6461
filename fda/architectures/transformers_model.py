"""A base model of the transformers library, as `Model`: opened from a folder's config.json, without weights.

Reading the config is `transformers_config`, building the module `transformers_build`, finding its blocks
`transformer_blocks`; weights come from `fda.checkpoints.readers`.
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fda.architectures.blocks import Block
from fda.architectures.disagreements import agreed, unused
from fda.architectures.image_blocks import ImageBlocks, image_blocks, images_as
from fda.architectures.model import Model
from fda.architectures.supply import text_positions
from fda.architectures.transformer_blocks import Part, transformer_blocks
from fda.architectures.transformers_build import build_on_meta, give_memory, library_converts, library_names
from fda.architectures.transformers_config import CONFIG, has_language_head, merged_part, read_config
from fda.architectures.transforms import Batch, ImageSize, TextTransform, Transform, checkpoint_transform
from fda.checkpoints.readers.names import best_prefix, fitted, named
from fda.checkpoints.weights import Weights
from fda.errors import Misfit, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Parts that some checkpoints of an architecture lack, because their task does not use them.
OPTIONAL_PARTS = ("pooler.", "visual_projection.", "mask_token")
TIED_HEADS = ("lm_head.weight", "embed_out.weight", "lm_head.decoder.weight", "predictions.decoder.weight")


@dataclass(frozen=True)
class TransformersModel(Model):
    """An architecture of the transformers library: the base model, without any task's head.

    `layout`: whether query, key and value have one weight each ("split qkv") or share one ("fused qkv"). `folders`: searched
    in this order for a processor or tokenizer. `notes`, `changed`: as of `Agreed`. `processed`, `refused`: as of `ImageBlocks`.
    Parameters are on the meta device until `load`.
    """

    module: "PreTrainedModel" = field(repr=False)
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
        config = json.dumps(self.config.to_dict(), sort_keys=True, default=str)
        return hashlib.sha256(f"{type(self.module).__name__} {config}".encode()).hexdigest()[:32]

    @property
    def images(self) -> bool:
        """Whether the model takes images; otherwise it takes texts."""
        return "pixel_values" in inspect.signature(self.module.forward).parameters

    @property
    def causal(self) -> bool:
        """Whether each token attends only to the tokens before it."""
        return has_language_head(self.config)

    @cached_property
    def transform(self) -> Transform:
        """The processor or tokenizer of the first folder that has one. UserError if the model does not accept its images."""
        if self.refused is not None:
            raise UserError(self.refused)
        positions = None if self.images else text_positions(self.module)
        segmented = "token_type_ids" in inspect.signature(self.module.forward).parameters
        one_type = getattr(self.config, "type_vocab_size", 2) < 2  # as in RoBERTa
        segmented = segmented and not one_type and not self.causal  # GPT-2 would embed segments as tokens
        return checkpoint_transform(
            self.folders, self.config, images=self.images, positions=positions, segmented=segmented
        )

    def of_images(self, size: tuple[int, int], whose: str) -> "TransformersModel":
        """Return the model with its tokens counted on images of this size (height, width). UserError if it rejects them."""
        blocks = transformer_blocks(self.module, part=self.part, size=size)
        processed = None if self.processed is None else ImageSize(size)
        return replace(self, blocks=blocks, processed=processed, token_source=images_as(size, whose, self.config))

    @property
    def expected(self) -> dict[str, tuple[int, ...]]:
        """Name → shape of every tensor in the state dict."""
        return {name: tuple(tensor.shape) for name, tensor in self.module.state_dict().items()}

    @property
    def embeddings(self) -> str | None:
        matrix = getattr(self.module.get_input_embeddings(), "weight", None)
        parameters = self.module.named_parameters()
        return next((name for name, tensor in parameters if tensor is matrix and tensor.ndim == 2), None)

    @cached_property
    def rename(self) -> Callable[[str], str]:
        return library_names(self.module)

    def fit(self, weights: Weights, *, base: Weights | None = None) -> Weights:
        """Return a checkpoint's weights under this architecture's names, without prefixes, heads and other towers.

        `base`: fitted weights from which a task takes the optional parts that it lacks (pooler, visual projection). Parts
        that the base lacks are left out, so that both have the same tensors. Embeddings of tokens that were added to a task's
        vocabulary are left out too: the other checkpoints do not have them. If a task's vocabulary was cut, the rows that its
        tokenizer never uses come from the base.
        UserError if this is not a checkpoint of this architecture.
        """
        expected = {name: shape for name, shape in self.expected.items() if base is None or name in base}
        optional = {name for name in expected if self.may_lack(name)}
        grown = () if self.embeddings is None else (self.embeddings,)
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
        """The library's renamings; a tied matrix that the file holds only under the head's name becomes the embeddings."""
        rename, embeddings = self.rename, self.embeddings
        tied = getattr(self.config, "tie_word_embeddings", False)
        if not tied or embeddings is None or named(weights, embeddings, rename) is not None:
            return rename
        head = next((name for name in weights if name.endswith(TIED_HEADS)), None)
        off, on = best_prefix(weights, {rename(name): name for name in weights}, expected)
        return lambda name: off + embeddings.removeprefix(on) if name == head else rename(name)

    @cached_property
    def tokens_used(self) -> int | float:
        """How many rows of the embeddings the tokenizer can use; infinite without a tokenizer."""
        try:
            transform = self.transform
        except UserError:
            return inf
        if not isinstance(transform, TextTransform):
            return inf
        return max(transform.tokenizer.get_vocab().values(), default=-1) + 1

    def may_lack(self, name: str) -> bool:
        return any(part in name for part in OPTIONAL_PARTS)

    def load(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """Copy fitted weights into the module as float32; optional parts that the weights lack become zero."""
        give_memory(self.module)
        tensors = self.module.state_dict()
        if unknown := set(weights) - tensors.keys():
            raise ValueError(f"not this module's weights: {sorted(unknown)[:3]}")
        for name, tensor in tensors.items():
            if name in weights:
                tensor.copy_(weights[name])
            elif self.may_lack(name):
                tensor.zero_()
            elif tensor.is_floating_point():
                raise ValueError(f"weights lack {name}")
        return self.module

    def to(self, device: str | torch.device) -> None:
        give_memory(self.module)
        super().to(device)

    def outputs(self, batch: Batch) -> Any:
        """Return the library's output object of the base model: last hidden state, pooled output and so on."""
        if isinstance(batch, Tensor):
            return self.module(pixel_values=batch)
        inputs: dict[str, Any] = {"input_ids": batch.ids, "attention_mask": batch.mask.long()}
        if batch.segments is not None:
            inputs["token_type_ids"] = batch.segments
        if "use_cache" in inspect.signature(self.module.forward).parameters:
            inputs["use_cache"] = False
        return self.module(**inputs)

    def features(self, batch: Batch) -> Tensor:
        """(batch, embedding): CLIP's projected embedding, else the pooled output, else the first token's hidden state.

        For a causal language model, the last token's hidden state: only that token attends to the whole text.
        """
        output = self.outputs(batch)
        for name in ("image_embeds", "pooler_output"):
            if getattr(output, name, None) is not None:
                return output[name]
        hidden = output.last_hidden_state
        if not self.causal or isinstance(batch, Tensor):
            return hidden[:, 0]
        return hidden[torch.arange(len(hidden), device=hidden.device), batch.mask.sum(dim=1) - 1]


def open_transformers_model(
    folder: str | Path,
    *,
    part: Part = "block",
    tokens: int | None = None,
    others: Sequence[Path] = (),
    weights: Weights | None = None,
) -> TransformersModel:
    """Open the architecture of a folder's config.json and its blocks. Of a CLIP model, the image tower and its projection.

    `part` and `tokens` as for `transformer_blocks`; `others`: folders to search for a processor if this one has none;
    `weights`: the checkpoint's; where they contradict the config's counts of tokens or positions, the weights win.
    UserError if the config needs code or models from elsewhere, if the installed transformers library does not know it, or if
    its blocks do not fit.
    """
    config, path = read_config(Path(folder)), Path(folder) / CONFIG
    changed, notes = {}, ()
    whole = config is merged_part(config)
    if weights is None or not whole:
        module = build_on_meta(config, Path(folder))
    else:
        agreement = agreed(config, weights, lambda config: build_on_meta(config, Path(folder)), library_names, path)
        config, module, changed, notes = agreement.config, agreement.module, agreement.changed, agreement.notes
    _require_one_stack(module, config, path)
    folders = (Path(folder), *(other for other in others if other.is_dir()))
    if "pixel_values" in inspect.signature(module.forward).parameters:
        images = image_blocks(module, folders, part, tokens)
    else:
        images = ImageBlocks(transformer_blocks(module, part=part, tokens=tokens), None, "")
    first = images.blocks[0]
    if weights is not None and whole:
        notes = (*notes, *_left_out(weights, module, first, path))
    return TransformersModel(
        module,
        config,
        images.blocks,
        _layout(module, first),
        folders,
        notes=notes,
        changed=changed,
        part=part,
        processed=images.processed,
        token_source=images.source,
        refused=images.refused,
    )


def _left_out(weights: Weights, module: "PreTrainedModel", block: Block, path: Path) -> list[str]:
    """A note if tensors below the path of the blocks do not occur in the model: further blocks, biases that it lacks."""
    blocks, rename = block.prefix[: block.prefix.rindex("0.")], library_names(module)
    extra = [name for name in unused(weights, module, rename) if f".{blocks}" in f".{rename(name)}"]
    if not extra:
        return []
    return [
        f"{weights.path}: {len(extra)} tensors of its blocks have no place in the model that {path} describes, and are left "
        f"out, as the library leaves them out: the first is {extra[0]}."
    ]


def _require_one_stack(module: nn.Module, config: Any, path: Path) -> None:
    """UserError for models with more than one stack of blocks."""
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


def _layout(module: nn.Module, block: Block) -> str:
    """Fused if a whole block (not only its MLP) has a weight from d to 3 d."""
    names = [name for name, _ in module.named_parameters() if name.startswith(block.prefix.rsplit(".", 2)[0])]
    shapes = (module.get_parameter(name).shape for name in names)
    fused = any(sorted(shape) == [block.width, 3 * block.width] for shape in shapes if len(shape) == 2)
    return "fused qkv" if fused else "split qkv"

"""The repeated blocks of any transformers model as pure functions of (parameters, x), found and supplied without naming models.

Blocks: the items of the `nn.ModuleList` that holds most parameters. What a block needs beside the hidden state (position
embeddings, positions, mask) is what the model itself hands it (`fda.architectures.supply`). So a causal language model's blocks
see its causal mask (and sliding windows), because their real inputs do; encoders and image models see no mask, as for inputs
without padding. Attention is the plain (`eager`) one, which can be differentiated twice. Building a model from a folder is
left to `fda.architectures.transformers_model`.
"""

import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from fda.architectures.blocks import Block
from fda.architectures.supply import FEW_TOKENS, NOT_READ, Supply, image_supplies, text_supplies
from fda.errors import UserError

Part = Literal["block", "mlp"]
MLP_NAMES = ("mlp", "ffn", "feed_forward")
TEXT_TOKENS = {
    "block": FEW_TOKENS,
    "mlp": 1,
}  # per anchor, where the model prescribes none: the paper's RoBERTa and Llama


@dataclass(frozen=True)
class TransformerBlock(Block):
    """A block of a transformers model: φ(parameters, x) with x and the result of shape (n, tokens, d)."""

    supply: Supply = field(default_factory=Supply, repr=False, compare=False)

    @property
    def probe_tokens(self) -> int:
        return self.tokens if self.supply.exact else super().probe_tokens

    def __call__(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        args, keywords = self.supply.of(x)
        with _DoubleSoftmax() if x.dtype is torch.float64 else nullcontext():
            result = functional_call(self.module, dict(parameters), (x, *args), keywords)
        return result[0] if isinstance(result, tuple) else result


class _DoubleSoftmax(TorchFunctionMode):
    """Keeps float64 through softmax, which many models compute in float32 whatever they are given.

    Whether a gradient is zero by mathematics (a key bias's) is told in float64, and would drown in float32 rounding.
    """

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if function in (nn.functional.softmax, torch.softmax, Tensor.softmax) and kwargs.get("dtype") is torch.float32:
            kwargs = {**kwargs, "dtype": None}
        return function(*args, **kwargs)


def transformer_blocks(
    model: nn.Module, *, part: Part = "block", tokens: int | None = None, size: tuple[int, int] | None = None
) -> tuple[Block, ...]:
    """The blocks of a transformers model (images or text), or the MLP alone of each, as the paper takes for Llama.

    `model` needs no weights: parameters may lie on the meta device, but buffers must be real. `tokens` per anchor: of
    an image model its own number, for images of `size` (height, width; default: its config's); of a text model any
    (default: the paper's), which the model's positions allow.
    Parameters are frozen and dropout is switched off. UserError for a model whose blocks cannot be told or supplied.
    """
    model.eval().requires_grad_(False)
    model.set_attn_implementation("eager")
    path, layers = find_blocks(model)
    images = "pixel_values" in inspect.signature(model.forward).parameters
    own, width, supplies = image_supplies(model, layers, size) if images else text_supplies(model, layers, tokens)
    if images and tokens not in (None, own):
        raise UserError(f"{type(model).__name__} has {own} tokens: leave `tokens` away, or say {own}.")
    own = own if images else tokens or TEXT_TOKENS[part]
    blocks = []
    for index, layer in enumerate(layers):
        prefix, module, supply = f"{path}.{index}.", layer, supplies[index]
        if part == "mlp":
            name = _mlp_name(layer)
            prefix, module, supply = f"{prefix}{name}.", getattr(layer, name), Supply()
        shapes = {name: tuple(tensor.shape) for name, tensor in module.named_parameters()}
        blocks.append(TransformerBlock(index, prefix, shapes, width, own, module, supply))
    return tuple(blocks)


def find_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """(name, list) of the `nn.ModuleList` with most parameters whose items are of one class and take hidden states."""
    found = [
        (sum(tensor.numel() for tensor in modules.parameters()), name, modules)
        for name, modules in model.named_modules()
        if isinstance(modules, nn.ModuleList) and len(modules) and _alike(modules)
    ]
    if not found:
        raise UserError(f"{type(model).__name__} has no list of equal blocks: {NOT_READ}.")
    _, name, layers = max(found, key=lambda one: one[0])
    return name, layers


def _alike(modules: nn.ModuleList) -> bool:
    first = next(iter(inspect.signature(modules[0].forward).parameters), "")
    return len({type(one) for one in modules}) == 1 and first in ("hidden_states", "hidden_state", "x")


def _mlp_name(layer: nn.Module) -> str:
    for name in MLP_NAMES:
        module = getattr(layer, name, None)
        if isinstance(module, nn.Module):
            needed = [
                one
                for one in inspect.signature(module.forward).parameters.values()
                if one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
            ]
            if len(needed) == 1:
                return name
    raise UserError(
        f"{type(layer).__name__} has no MLP of its own (one module from tokens to tokens): use whole blocks."
    )

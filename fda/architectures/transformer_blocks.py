"""The repeated blocks of any transformers model as pure functions of (parameters, x), without code for single architectures.

The blocks are the items of the `nn.ModuleList` with most parameters. Their arguments beside the hidden state (position
embeddings, positions, mask) are those that the model passes (`fda.architectures.supply`). So blocks of a causal language model
see its causal mask and sliding windows; encoders and image models see no mask, as for inputs without padding. Attention is the
plain (`eager`) implementation, which can be differentiated twice.
"""

import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from fda.architectures.blocks import Block
from fda.architectures.supply import FEW_TOKENS, NOT_READ, Supply, image_supplies, text_supplies
from fda.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Part = Literal["block", "mlp"]
MLP_NAMES = ("mlp", "ffn", "feed_forward")
TEXT_TOKENS = {
    "block": FEW_TOKENS,
    "mlp": 1,
}  # per anchor, where the model allows any number: the paper's RoBERTa and Llama


@dataclass(frozen=True)
class TransformerBlock(Block):
    """A block of a transformers model: φ(parameters, x), where x and the result have shape (n, tokens, d)."""

    supply: Supply = field(default_factory=Supply, repr=False, compare=False)

    @property
    def probe_tokens(self) -> int:
        return self.tokens if self.supply.exact else super().probe_tokens

    def copy(self, device: str | torch.device | None = None) -> Block:
        supply = self.supply if device is None else self.supply.on(device)
        return replace(super().copy(device), supply=supply)  # pyright: ignore[reportCallIssue]

    def __call__(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        args, keywords = self.supply.of(x)
        with _DoubleSoftmax() if x.dtype is torch.float64 else nullcontext():
            result = functional_call(self.module, dict(parameters), (x, *args), keywords)
        return result[0] if isinstance(result, tuple) else result


class _DoubleSoftmax(TorchFunctionMode):
    """Keeps float64 through softmax, which many models cast to float32.

    A test whether a gradient is mathematically zero (a key bias's) needs float64; float32 rounding would hide it.
    """

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if function in (nn.functional.softmax, torch.softmax, Tensor.softmax) and kwargs.get("dtype") is torch.float32:
            kwargs = {**kwargs, "dtype": None}
        return function(*args, **kwargs)


def transformer_blocks(
    model: nn.Module, *, part: Part = "block", tokens: int | None = None, size: tuple[int, int] | None = None
) -> tuple[Block, ...]:
    """Return the blocks of a transformers model (images or text), or only the MLP of each, as the paper uses for Llama.

    `model` needs no weights: parameters may be on the meta device, but buffers must be real. `tokens` per anchor: an image
    model has a fixed number, for images of `size` (height, width; default: its config's); a text model takes any number that
    its positions allow (default: the paper's).
    Freezes the parameters and switches dropout off. UserError for a model whose blocks cannot be found or supplied.
    """
    model.eval().requires_grad_(False)
    cast("PreTrainedModel", model).set_attn_implementation("eager")
    path, layers = find_blocks(model)
    images = "pixel_values" in inspect.signature(model.forward).parameters
    count, width, supplies = image_supplies(model, layers, size) if images else text_supplies(model, layers, tokens)
    if images and tokens not in (None, count):
        raise UserError(f"{type(model).__name__} has {count} tokens: leave `tokens` out, or give {count}.")
    count = count if images else tokens or TEXT_TOKENS[part]
    blocks = []
    for index, layer in enumerate(layers):
        prefix, module, supply = f"{path}.{index}.", layer, supplies[index]
        if part == "mlp":
            name = _mlp_name(layer)
            prefix, module, supply = f"{prefix}{name}.", getattr(layer, name), Supply()
        shapes = {name: tuple(tensor.shape) for name, tensor in module.named_parameters()}
        blocks.append(TransformerBlock(index, prefix, shapes, width, count, module, supply))
    return tuple(blocks)


def find_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """Return (name, list) of the `nn.ModuleList` with most parameters whose items are of one class and take hidden states."""
    candidates = [
        (sum(tensor.numel() for tensor in modules.parameters()), name, modules)
        for name, modules in model.named_modules()
        if isinstance(modules, nn.ModuleList) and len(modules) and _alike(modules)
    ]
    if not candidates:
        raise UserError(f"{type(model).__name__} has no list of equal blocks: {NOT_READ}.")
    _, name, layers = max(candidates, key=lambda candidate: candidate[0])
    return name, layers


def _alike(modules: nn.ModuleList) -> bool:
    first = next(iter(inspect.signature(modules[0].forward).parameters), "")
    return len({type(module) for module in modules}) == 1 and first in ("hidden_states", "hidden_state", "x")


def _mlp_name(layer: nn.Module) -> str:
    for name in MLP_NAMES:
        module = getattr(layer, name, None)
        if isinstance(module, nn.Module):
            required = [
                parameter
                for parameter in inspect.signature(module.forward).parameters.values()
                if parameter.default is parameter.empty
                and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
            ]
            if len(required) == 1:
                return name
    raise UserError(
        f"{type(layer).__name__} has no MLP of its own (one module from tokens to tokens): use whole blocks."
    )

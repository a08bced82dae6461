"""Second moments of the inputs of a model's linear layers, gathered by hooks while the caller runs the model.

Covers `nn.Linear`, `nn.MultiheadAttention`, and the `Conv1D` of transformers: GPT-2's linear layer, whose weight is in × out.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def linear_moments(module: nn.Module, run: Callable[[], object]) -> dict[str, Tensor]:
    """Return weight name → mean of x xᵀ (in × in) over all tokens that enter the layer during `run()`, fp32, on the CPU.

    Names are those of the module's state dict. `run` may call the module, or parts of it, any number of times; all tokens
    count equally, masked ones too. Attention: the input of the fused `in_proj_weight` is the query, and the weight is left out
    if key or value is another tensor; the input of `out_proj.weight` is the heads' output. Layers that `run` does not reach
    are left out. No other thread may use the module at the same time.
    """
    sums: dict[str, _Sum] = {}

    def add(name: str, x: Tensor) -> None:
        if name not in sums:
            sums[name] = _Sum(x)
        sums[name].add(x)

    with ExitStack() as hooks:
        attentions = {name: part for name, part in module.named_modules() if isinstance(part, nn.MultiheadAttention)}
        projections = {id(part.out_proj) for part in attentions.values()}
        for name, attention in attentions.items():
            hooks.callback(attention.register_forward_pre_hook(_attention_hook(name, add), with_kwargs=True).remove)
        for name, part in module.named_modules():
            if isinstance(part, (nn.Linear, *_conv1d())) and id(part) not in projections:
                hooks.callback(part.register_forward_pre_hook(_linear_hook(name, add)).remove)
        run()
    names = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    return {name: total.mean() for name, total in sums.items() if name in names}


def in_by_out(module: nn.Module) -> frozenset[str]:
    """Return the names (in the state dict) of the weights that are in × out; all others are out × in."""
    return frozenset(_join(name, "weight") for name, part in module.named_modules() if isinstance(part, _conv1d()))


def _conv1d() -> tuple[type[nn.Module], ...]:
    """transformers' class, if the library is loaded: this function does not load it."""
    library = sys.modules.get("transformers.pytorch_utils")
    return () if library is None else (library.Conv1D,)


class _Sum:
    """Σ x xᵀ (in × in) over `tokens` tokens, on the device of the tokens."""

    def __init__(self, example: Tensor) -> None:
        """`example`: (…, in), of the inputs' width and device."""
        self.total = torch.zeros(example.shape[-1], example.shape[-1], device=example.device)
        self.tokens = 0

    def add(self, x: Tensor) -> None:
        """x: (…, in)"""
        x = x.detach().reshape(-1, x.shape[-1]).float()
        self.total.addmm_(x.T, x)
        self.tokens += len(x)

    def mean(self) -> Tensor:
        return (self.total / self.tokens).cpu()


Add = Callable[[str, Tensor], None]


def _linear_hook(name: str, add: Add) -> Callable[..., None]:
    def hook(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        add(_join(name, "weight"), args[0])

    return hook


def _attention_hook(name: str, add: Add) -> Callable[..., None]:
    """`nn.MultiheadAttention` never calls its `out_proj`, so the hook computes the heads' output again, without it."""

    def hook(attention: nn.MultiheadAttention, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        inputs = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
        if inputs["query"] is inputs["key"] is inputs["value"]:
            add(_join(name, "in_proj_weight"), inputs["query"])
        with _identity_projection(attention):
            add(_join(name, "out_proj.weight"), attention.forward(*args, **kwargs)[0])  # `forward` calls no hooks

    return hook


@contextmanager
def _identity_projection(attention: nn.MultiheadAttention) -> Iterator[None]:
    """Within this context the attention returns its heads' output unprojected. Products with 1 and 0 are exact."""
    projection = attention.out_proj
    identity = nn.Linear(
        projection.in_features, projection.out_features, bias=projection.bias is not None, device="meta"
    )
    identity.weight = nn.Parameter(torch.eye(projection.in_features).to(projection.weight), requires_grad=False)
    if projection.bias is not None:
        identity.bias = nn.Parameter(torch.zeros_like(projection.bias), requires_grad=False)
    untyped: Any = attention  # torch declares a subclass of nn.Linear here
    untyped.out_proj = identity
    try:
        yield
    finally:
        attention.out_proj = projection


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name

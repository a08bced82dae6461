"""What a model's linear layers are fed: the second moments of their inputs, gathered while the model runs.

For any torch module, by hooks; which weights are in it and what it is run on is left to the caller. Seen are `nn.Linear`,
`nn.MultiheadAttention` and the `Conv1D` of transformers, GPT-2's linear layer that keeps its weight as in × out.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def linear_moments(module: nn.Module, run: Callable[[], object]) -> dict[str, Tensor]:
    """Weight name → mean of x xᵀ (in × in) over all tokens that enter the layer during `run()`, fp32, on the CPU.

    Names are those of the module's state dict. `run` calls the module, or parts of it, as often as it likes; every token of
    every call has the same weight, also those that a mask hides. Attention: the fused `in_proj_weight` is fed the query, and
    is left out if key or value is another tensor; `out_proj.weight` is fed the heads' output. A layer that `run` does not
    reach is left out. Not for a module that another thread uses at the same time.
    """
    sums: dict[str, _Sum] = {}

    def add(name: str, x: Tensor) -> None:
        sums.setdefault(name, _Sum()).add(x)

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
    return {name: one.mean() for name, one in sums.items() if name in names}


def in_by_out(module: nn.Module) -> frozenset[str]:
    """The weights, by their names in the state dict, that their layers keep as in × out; all others are out × in."""
    return frozenset(_join(name, "weight") for name, part in module.named_modules() if isinstance(part, _conv1d()))


def _conv1d() -> tuple[type[nn.Module], ...]:
    """The class, if the library that has it is in use: it is not loaded for this."""
    library = sys.modules.get("transformers.pytorch_utils")
    return () if library is None else (library.Conv1D,)


class _Sum:
    """Σ x xᵀ and the number of tokens, on the device of the tokens."""

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.tokens = 0

    def add(self, x: Tensor) -> None:
        """x: (…, in)"""
        x = x.detach().reshape(-1, x.shape[-1]).float()
        if self.total is None:
            self.total = x.new_zeros(x.shape[1], x.shape[1])
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
    """`nn.MultiheadAttention` never calls its `out_proj`, so the heads' output is computed a second time, without it."""

    def hook(attention: nn.MultiheadAttention, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
        if given["query"] is given["key"] is given["value"]:
            add(_join(name, "in_proj_weight"), given["query"])
        with _identity_projection(attention):
            add(_join(name, "out_proj.weight"), attention.forward(*args, **kwargs)[0])  # forward: calls no hooks

    return hook


@contextmanager
def _identity_projection(attention: nn.MultiheadAttention) -> Iterator[None]:
    """While this lasts, the attention gives its heads' output as it is. Products with 1 and 0 are exact."""
    own = attention.out_proj
    identity = nn.Linear(own.in_features, own.out_features, bias=own.bias is not None, device="meta")
    identity.weight = nn.Parameter(torch.eye(own.in_features).to(own.weight), requires_grad=False)
    if own.bias is not None:
        identity.bias = nn.Parameter(torch.zeros_like(own.bias), requires_grad=False)
    attention.out_proj = identity
    try:
        yield
    finally:
        attention.out_proj = own


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name

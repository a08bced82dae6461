"""A block of a model as a pure function of (parameters, x), and the blocks of an open_clip model."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fda.errors import UserError


@dataclass(frozen=True)
class Block:
    """One repeated block: φ(parameters, x), where x and the result have shape (n, tokens, d).

    `prefix` precedes the block's tensor names in the checkpoint; the model feeds it x of `tokens` and `width` (d).
    """

    index: int
    prefix: str
    shapes: dict[str, tuple[int, ...]]
    width: int
    tokens: int
    module: nn.Module = field(repr=False, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the block's tensors, without the prefix, in the module's order."""
        return tuple(self.shapes)

    @property
    def probe_tokens(self) -> int:
        """How many tokens a probe has: few, if the block takes any number."""
        return min(self.tokens, 8)

    def __call__(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(self.module, dict(parameters), (x,))

    def copy(self, device: str | torch.device | None = None) -> "Block":
        """Return the block with a module of its own: only one thread may use a module at a time.

        The module has no weights, which every call brings. What it has beside them is on `device`; None: where it was.
        """
        copies: dict[int, Any] = {
            id(old): nn.Parameter(torch.empty_like(old, device="meta"), False) for old in self.module.parameters()
        }
        copies |= {id(old): old.to(device or old.device, copy=True) for old in self.module.buffers()}
        return replace(self, module=deepcopy(self.module, copies))

    def of(self, weights: Mapping[str, Tensor], device: str | torch.device = "cpu") -> dict[str, Tensor]:
        """Read this block's tensors from a checkpoint: name → float32 tensor on `device`."""
        return {name: weights[self.prefix + name].to(device=device, dtype=torch.float32) for name in self.names}


def open_clip_blocks(model: nn.Module) -> tuple[Block, ...]:
    """Return the residual blocks of an open_clip vision tower, (n, tokens, d) → (n, tokens, d). UserError if it has none."""
    tower: Any = model.visual  # of several classes
    if not getattr(getattr(tower, "transformer", None), "resblocks", ()):
        raise UserError(
            f"an image tower of the class {type(tower).__name__} without residual attention blocks does not fit: give a "
            "vision transformer (ViT) of one layer at least."
        )
    tokens, width = tower.positional_embedding.shape
    return tuple(
        Block(
            index=index,
            prefix=f"visual.transformer.resblocks.{index}.",
            shapes={name: tuple(tensor.shape) for name, tensor in module.named_parameters()},
            width=width,
            tokens=tokens,
            module=module.eval(),
        )
        for index, module in enumerate(tower.transformer.resblocks)
    )

"""The inputs of each block of a model on real samples, for comparison with anchors."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fda.architectures.model import Model
from fda.architectures.transforms import Batch, TextBatch

TEXT_TOKENS = 16  # tokens kept of each text, unless the block needs another number


@torch.no_grad()
def block_inputs(model: Model, batch: Batch) -> list[Tensor]:
    """The inputs (n, tokens, d) of each block, with the weights loaded in `model`, on their device.

    A text gives `TEXT_TOKENS` of its tokens, spaced evenly from the first to the last; a block with a fixed number of tokens
    gets that many. The model sees the whole text. Padding is never taken; tokens of a short text repeat.
    """
    captured: dict[int, Tensor] = {}

    def capture(index: int) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple, keywords: dict) -> None:
            captured[index] = (args[0] if args else next(iter(keywords.values()))).detach()

        return hook

    hooks = [
        block.module.register_forward_pre_hook(capture(index), with_kwargs=True)
        for index, block in enumerate(model.blocks)
    ]
    try:
        model.outputs(batch)
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(batch, TextBatch):
        return [captured[index] for index in range(len(model.blocks))]
    return [_spread(captured[index], batch.mask, _count(model, index)) for index in range(len(model.blocks))]


def _count(model: Model, index: int) -> int:
    supply = getattr(model.blocks[index], "supply", None)
    if supply is None or supply.longest is None:
        return TEXT_TOKENS
    return supply.longest if supply.exact else min(TEXT_TOKENS, supply.longest)


def _spread(hidden: Tensor, mask: Tensor, count: int) -> Tensor:
    """(n, t, d) → (n, count, d): evenly spaced tokens of each row under the mask, whose tokens come first."""
    share = torch.linspace(0, 1, count, device=hidden.device)
    indices = (share * (mask.sum(dim=1, keepdim=True) - 1)).round().long()
    return hidden.gather(1, indices[..., None].expand(-1, -1, hidden.shape[-1]))

"""The inputs that real samples give each block of a model: what anchors are compared with."""

import torch
from torch import Tensor, nn

from fda.architectures.model import Model
from fda.architectures.transforms import Batch, TextBatch

TEXT_TOKENS = 16  # of each text, where the block takes any number


@torch.no_grad()
def block_inputs(model: Model, batch: Batch) -> list[Tensor]:
    """For each block, its inputs (n, tokens, d) on the device of the weights that are in `model`.

    Of a text, `TEXT_TOKENS` of its own tokens (as many as the block takes, if it takes one number only), spaced evenly from the
    first to the last: padding is never among them, tokens of a shorter text come more than once, and each is what the model
    makes of it within the whole text.
    """
    caught: dict[int, Tensor] = {}

    def keep(index: int):
        def hook(_: nn.Module, args: tuple, keywords: dict) -> None:
            caught[index] = (args[0] if args else next(iter(keywords.values()))).detach()

        return hook

    hooks = [
        block.module.register_forward_pre_hook(keep(index), with_kwargs=True)
        for index, block in enumerate(model.blocks)
    ]
    try:
        model.outputs(batch)
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(batch, TextBatch):
        return [caught[index] for index in range(len(model.blocks))]
    return [_spread(caught[index], batch.mask, _count(model, index)) for index in range(len(model.blocks))]


def _count(model: Model, index: int) -> int:
    supply = getattr(model.blocks[index], "supply", None)
    if supply is None or supply.longest is None:
        return TEXT_TOKENS
    return supply.longest if supply.exact else min(TEXT_TOKENS, supply.longest)


def _spread(hidden: Tensor, mask: Tensor, count: int) -> Tensor:
    """(n, t, d) → (n, count, d): of each row, tokens that the mask shows, which stand first."""
    share = torch.linspace(0, 1, count, device=hidden.device)
    places = (share * (mask.sum(dim=1, keepdim=True) - 1)).round().long()
    return hidden.gather(1, places[..., None].expand(-1, -1, hidden.shape[-1]))

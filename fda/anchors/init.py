"""Initial anchors: rows of the finetuned weights, or a small Gaussian (paper, initialisation principle)."""

import hashlib

import torch
from torch import Tensor

from fda.anchors.loss import Parameters
from fda.architectures.blocks import Block
from fda.architectures.linears import in_by_out
from fda.settings import ConstructSettings


def unit_seed(seed: int, task: str, block: int) -> int:
    """The seed of one unit, from (seed, task, block) alone: neither order nor the number of lanes changes a result."""
    digest = hashlib.sha256(f"{seed}/{task}/{block}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def initial_anchors(block: Block, finetuned: Parameters, settings: ConstructSettings, seed: int) -> Tensor:
    """The initial anchors (n, tokens, d), float32 on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    tokens = settings.tokens or block.tokens
    if settings.init == "gauss":
        return settings.sigma * torch.randn(settings.anchors, tokens, block.width, generator=generator)
    rows = weight_rows(block, finetuned)
    return settings.weight_scale * rows_as_anchors(rows, settings.anchors, tokens, generator)


def weight_rows(block: Block, finetuned: Parameters) -> Tensor:
    """All rows of width d of the block's 2-D weights, stacked: (rows, d). Weights stored as in × out (GPT-2) are transposed."""
    stored_in_by_out = in_by_out(block.module)
    matrices = [w.T if name in stored_in_by_out else w for name, w in finetuned.items() if w.ndim == 2]
    return torch.cat([w.detach().float().cpu() for w in matrices if w.shape[1] == block.width])


def rows_as_anchors(rows: Tensor, anchors: int, tokens: int, generator: torch.Generator) -> Tensor:
    """Rows (m, d) as anchors (anchors, tokens, d): drawn without replacement, if there are enough of them.

    If there are too few, all of them in their order, and then means of random pairs of them, fill the first token of every
    anchor, then the second, and so on, as in the official code for images: every anchor begins with rows and ends with means.
    """
    count = anchors * tokens
    if len(rows) >= count:
        return rows[torch.randperm(len(rows), generator=generator)[:count]].reshape(anchors, tokens, -1)
    pairs = torch.randint(len(rows), (2, count - len(rows)), generator=generator)
    filled = torch.cat([rows, (rows[pairs[0]] + rows[pairs[1]]) / 2])
    return filled.reshape(tokens, anchors, -1).transpose(0, 1).contiguous()

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
    rows = sample_rows(weight_rows(block, finetuned), settings.anchors * tokens, generator)
    return settings.weight_scale * rows.reshape(settings.anchors, tokens, block.width)


def weight_rows(block: Block, finetuned: Parameters) -> Tensor:
    """All rows of width d of the block's 2-D weights, stacked: (rows, d). Weights stored as in × out (GPT-2) are transposed."""
    stored_in_by_out = in_by_out(block.module)
    matrices = [w.T if name in stored_in_by_out else w for name, w in finetuned.items() if w.ndim == 2]
    return torch.cat([w.detach().float().cpu() for w in matrices if w.shape[1] == block.width])


def sample_rows(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` rows drawn without replacement; means of random pairs of rows make up for missing ones."""
    chosen = rows[torch.randperm(len(rows), generator=generator)[:count]]
    missing = count - len(chosen)
    if missing > 0:
        pairs = torch.randint(len(rows), (2, missing), generator=generator)
        chosen = torch.cat([chosen, (rows[pairs[0]] + rows[pairs[1]]) / 2])
    return chosen

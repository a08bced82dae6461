"""Rewrite a block in plain matrix products, so that it can be differentiated twice, compiled, and run in low precision.

With bfloat16 products and everything else in float32, a block is several times faster on hardware with bfloat16 units (AMX or
AVX512-BF16 on CPUs, NVIDIA tensor cores), with about three correct digits per product. Parameters keep their names and stay
float32, so a block and its rewritten copy take the same tensors.
"""

from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from fda.architectures.blocks import Block


def has_fast_bfloat16(device: str) -> bool:
    """Whether bfloat16 products are faster than float32 ones on this device, according to its reported features.

    On a CPU: AMX tiles (five times the rate), or the vector instructions AVX512-BF16 (twice the rate).
    """
    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device)[0] >= 8
    return device == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def written_out(block: Block, products: torch.dtype = torch.float32) -> Block:
    """Return the block with its linear layers and torch's own attention rewritten as matrix products of this dtype."""
    return replace(block, module=_written_out(deepcopy(block.module), products))


def _written_out(module: nn.Module, products: torch.dtype) -> nn.Module:
    if type(module) is nn.Linear:
        return _Linear(module, products)
    if type(module) is nn.MultiheadAttention:
        return _Attention(module, products)
    for name, child in module.named_children():
        setattr(module, name, _written_out(child, products))
    return module


class _Linear(nn.Module):
    """`nn.Linear` with its product in another dtype."""

    def __init__(self, original: nn.Linear, products: torch.dtype) -> None:
        super().__init__()
        self.weight, self.bias, self.products = original.weight, original.bias, products

    def forward(self, x: Tensor) -> Tensor:
        y = linear(x.to(self.products), self.weight.to(self.products)).float()
        return y if self.bias is None else y + self.bias


class _Attention(nn.Module):
    """`nn.MultiheadAttention` as residual blocks use it: self-attention without mask, dropout or returned weights."""

    def __init__(self, original: nn.MultiheadAttention, products: torch.dtype) -> None:
        super().__init__()
        if not original._qkv_same_embed_dim or original.bias_k is not None or original.add_zero_attn:
            raise ValueError("only self-attention with one fused projection is written out here")
        self.in_proj_weight, self.in_proj_bias = original.in_proj_weight, original.in_proj_bias
        self.out_proj = _Linear(original.out_proj, products)
        self.heads, self.batch_first, self.products = original.num_heads, original.batch_first, products

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False, attn_mask: Tensor | None = None
    ) -> tuple[Tensor, None]:
        if attn_mask is not None or need_weights:
            raise ValueError("masks and attention weights are not written out here")
        x = query if self.batch_first else query.transpose(0, 1)  # n, tokens, d
        n, tokens, width = x.shape
        qkv = linear(x.to(self.products), self.in_proj_weight.to(self.products)).float()
        qkv = qkv if self.in_proj_bias is None else qkv + self.in_proj_bias
        q, k, v = (z.reshape(n, tokens, self.heads, -1).transpose(1, 2).to(self.products) for z in qkv.chunk(3, dim=-1))
        scores = (q @ k.transpose(-1, -2)).float() * (width // self.heads) ** -0.5
        mixed = (scores.softmax(dim=-1).to(self.products) @ v).float()
        out = self.out_proj(mixed.transpose(1, 2).reshape(n, tokens, width))
        return out if self.batch_first else out.transpose(0, 1), None

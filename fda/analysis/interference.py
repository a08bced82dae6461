"""How task vectors get in each other's way, from weights alone: interference of singular vectors, and conflicts of signs."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def singular_task_interference(triples: Sequence[tuple[Tensor, Tensor, Tensor]]) -> float:
    """STI: ‖(UᵀU − I) Σ (VᵀV − I)‖₁, the sum of magnitudes, over the tasks' singular triples side by side.

    `triples`: of each task U (m × k), s (k) and Vᵀ (k × n). 0 if the tasks' singular vectors are orthogonal to each other;
    it grows with ‖τ‖. Source: TSV (arXiv 2412.00081), definition 4.1.
    """
    left = torch.cat([u.double() for u, _, _ in triples], dim=1)
    values = torch.cat([s.double() for _, s, _ in triples])
    right = torch.cat([vt.double() for _, _, vt in triples])
    itself = torch.eye(len(values), dtype=torch.float64, device=left.device)
    return float(((left.T @ left - itself) * values @ (right @ right.T - itself)).abs().sum())


def sign_conflict(taus: Sequence[Tensor]) -> float:
    """The share of entries whose signs differ, of those that are nonzero in both of two task vectors; mean over pairs.

    0.5 is what independent signs give. NaN if no pair shares a nonzero entry.
    """
    signs = torch.stack([tau.flatten().sign() for tau in taus])
    product, both = signs @ signs.T, signs.abs() @ signs.abs().T
    shares = [
        float((both[i, j] - product[i, j]) / (2 * both[i, j]))
        for i in range(len(taus))
        for j in range(i)
        if both[i, j] > 0
    ]
    return sum(shares) / len(shares) if shares else math.nan

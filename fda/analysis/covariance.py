"""How well a stand-in for a layer's input Gram matrix points along the real one.

ACTMat (arXiv 2604.01329) takes τᵀτ in its place; anchors give another, which needs no data either.
"""

import math

import torch
from torch import Tensor


def task_vector_gram(tau: Tensor) -> Tensor:
    """τᵀτ (in × in) of a linear layer's task vector (out × in), in float64."""
    tau = tau.double()
    return tau.T @ tau


def agreement(first: Tensor, second: Tensor) -> float:
    """⟨A, B⟩ / (‖A‖ ‖B‖) of two matrices of one shape; between Gram matrices 0..1. NaN if one of them is zero.

    Scale does not matter, as it does not for the merge (Σ τᵢCᵢ)(Σ Cᵢ)⁻¹ if all Cᵢ share it.
    """
    first, second = first.double(), second.double()
    norms = float(first.norm() * second.norm())
    return float((first * second).sum()) / norms if norms > 0 else math.nan


def agreement_of_identity(gram: Tensor) -> float:
    """The agreement of the identity, which knows nothing of the layer, with a Gram matrix: tr(C) / (√d ‖C‖)."""
    return agreement(torch.eye(len(gram), dtype=torch.float64, device=gram.device), gram)

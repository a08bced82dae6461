"""Alignment of two sets of inputs: similarity of their top subspaces at any k, its value by chance, principal angles.

Extends the paper's figure 4, which shows one k. `spectrum.py` computes the directions.
"""

import torch
from torch import Tensor

from fda.analysis.spectrum import subspace_similarity, top_count, top_directions
from fda.measures import TOP_SHARE


def similarity(x: Tensor, real: Tensor, share: float = TOP_SHARE) -> float:
    """‖V_aᵀ V_r‖_F² / k of the top k = `share` of d right singular vectors of two inputs (…, d); 0..1.

    Paper, figure 4, with 20 % and real block inputs. Compare it with `chance`.
    """
    return similarities(x, real, (share,))[0]


def similarities(x: Tensor, real: Tensor, shares: tuple[float, ...]) -> list[float]:
    """`similarity` at several shares of d, from one decomposition of each input."""
    width = x.shape[-1]
    of_x, of_real = top_directions(x, width), top_directions(real, width)  # (d, d), the largest last
    return [subspace_similarity(of_x[:, -k:], of_real[:, -k:]) for k in (top_count(width, s) for s in shares)]


def similarity_by_count(directions: Tensor, real: Tensor) -> Tensor:
    """The similarity at every k = 1 … d of two orthonormal bases (d, d) with the largest direction last; shape (d,).

    One product of the bases serves all k: ‖V_aᵀ V_r‖_F² of the top k is the sum of the k × k corner of its squares.
    """
    squares = (directions.T @ real).square().flip(0, 1)
    corners = squares.cumsum(0).cumsum(1).diagonal()
    return corners / torch.arange(1, len(corners) + 1, dtype=corners.dtype, device=corners.device)


def chance(width: int, share: float = TOP_SHARE) -> float:
    """k/d: the expected similarity of two random k-dimensional subspaces of ℝᵈ (paper, figure 4, its dashed line)."""
    return top_count(width, share) / width


def principal_angles(directions: Tensor, real: Tensor) -> Tensor:
    """The k angles between two subspaces with orthonormal bases (d, k), in radians 0..π/2, ascending; shape (k,).

    cos θ_j are the singular values of V_aᵀ V_r, and sin θ_j those of the part of V_r outside V_a. Each angle is computed from
    both, because arccos alone loses half the digits of a small angle (Björck and Golub 1973). mean(cos² θ) is the
    similarity of figure 4.
    """
    within = directions.T @ real
    cosines = torch.linalg.svdvals(within)  # descending: angles ascending
    sines = torch.linalg.svdvals(real - directions @ within).flip(0)
    return torch.atan2(sines, cosines)

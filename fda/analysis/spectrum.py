"""The spectrum of anchors and its alignment with real block inputs (paper, figures 3 and 4)."""

import torch
from torch import Tensor

from fda.measures import TOP_SHARE


def as_matrix(x: Tensor) -> Tensor:
    """(n, tokens, d) → ((n·tokens), d) in float64."""
    return x.detach().reshape(-1, x.shape[-1]).double()


def decomposed(x: Tensor) -> tuple[Tensor, Tensor]:
    """(spectrum, directions) of the ((n·tokens) × d) matrix (paper, figure 3).

    Spectrum: singular values, descending, divided by the largest; shape (min(n·tokens, d),). Directions: the right singular
    vectors as columns, ascending; (d, d). Computed from the eigenvalues of the d × d Gram matrix in float64: singular values
    below 1e-8 are rounding.
    """
    matrix = as_matrix(x)
    values, vectors = torch.linalg.eigh(matrix.T @ matrix)
    values = values.clamp_min(0).sqrt().flip(0)[: min(matrix.shape)]
    return values / values[0].clamp_min(torch.finfo(values.dtype).tiny), vectors


def top_directions(x: Tensor, k: int | None = None) -> Tensor:
    """The k right singular vectors of largest singular value, as columns (d, k), the largest last. Default k: 20 % of d."""
    matrix = as_matrix(x)
    k = top_count(matrix.shape[1]) if k is None else k
    _, vectors = torch.linalg.eigh(matrix.T @ matrix)
    return vectors[:, -k:]


def subspace_similarity(directions: Tensor, real: Tensor) -> float:
    """‖V_aᵀ V_r‖_F² / k of two (d, k) orthonormal bases: 1 for equal subspaces, k/d by chance (paper, figure 4)."""
    return float((directions.T @ real).square().sum() / directions.shape[1])


def top_count(width: int, share: float = TOP_SHARE) -> int:
    """k: the number of directions in the top `share` of d, at least one (paper, figure 4: 20 %)."""
    if not 0 < share <= 1:
        raise ValueError(f"the share of directions must lie in (0, 1], not {share}")
    return max(1, round(share * width))


def tail_energy(spectrum: Tensor, width: int, share: float = TOP_SHARE) -> float:
    """Σ_{j>k} s_j² / Σ_j s_j² of a descending spectrum s of vectors of length d = `width`, with k = `share` of d; 0..1.

    The long tail of the paper's figure 3 as one number: 0 if the top k directions hold all energy, (d − k) / d for a flat
    spectrum of full rank, NaN for a spectrum of zeros.
    """
    energy = spectrum.double().square()
    return float(energy[top_count(width, share) :].sum() / energy.sum())


def effective_rank(spectrum: Tensor) -> float:
    """exp of the entropy of the normalised singular values (Roy and Vetterli 2007): 1 for one direction, d for a flat one."""
    p = spectrum / spectrum.sum()
    p = p[p > 0]
    return float((-(p * p.log()).sum()).exp())

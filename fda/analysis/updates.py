"""What a merged update Δ = θ_merged − θ0 of one matrix (out × in) keeps of each task vector, by its left singular vectors."""

import torch
from torch import Tensor

KEPT_NORM = 0.95  # of ‖Δ‖, by the least number of singular vectors (Iso-C, arXiv 2502.04959)


def left_vectors(update: Tensor) -> tuple[Tensor, Tensor]:
    """U (m × r) and the singular values (r), largest first, in float64."""
    left, values, _ = torch.linalg.svd(update.double(), full_matrices=False)
    return left, values


def kept_rank(values: Tensor) -> int:
    """The least k with √(σ₁² + … + σₖ²) > KEPT_NORM · ‖Δ‖; 0 for a zero update."""
    energy = values.square().cumsum(0)
    if energy[-1] == 0:
        return 0
    return int((energy.sqrt() <= KEPT_NORM * energy[-1].sqrt()).sum()) + 1


def alignment_ratio(left: Tensor, tau: Tensor) -> float:
    """SAR: ‖U Uᵀ τ‖ / ‖τ‖ of orthonormal columns U (m × k), 0..1; NaN for a zero task vector.

    Source: Iso-C (arXiv 2502.04959), with U the first `kept_rank` left singular vectors of the merged update, for every task
    the same.
    """
    tau = tau.double()
    return float((left.T @ tau).norm() / tau.norm()) if tau.any() else torch.nan


def over_accumulation(left: Tensor, update: Tensor, tau: Tensor) -> Tensor:
    """sᵣ = ⟨uᵣᵀΔ, uᵣᵀτ⟩ / ‖uᵣᵀτ‖² for each column uᵣ of `left` (m × k); (k,), NaN where τ has nothing along uᵣ.

    1: the update holds the task's part along uᵣ once; above 1 others were added to it. Source: SVC (arXiv 2602.05536).
    """
    of_update, of_task = left.T @ update.double(), left.T @ tau.double()
    energy = of_task.square().sum(1)
    there = energy > torch.finfo(torch.float32).eps ** 2 * tau.double().square().sum()
    return torch.where(there, (of_update * of_task).sum(1) / energy.where(there, torch.ones_like(energy)), torch.nan)

"""Weight disentanglement (Ortiz-Jimenez et al. 2023, arXiv 2305.12827): does moving along one task change another's answers?.

ξ(α₁, α₂) = ½ Σ_t E_x∼t [f(x; θ0 + α_t τ_t) ≠ f(x; θ0 + α₁ τ₁ + α₂ τ₂)]: the disentanglement error, here halved to be a share.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from fda.merging.method import Weights
from fda.merging.views import View


class Moved(View):
    """θ0 + Σ α_t (θt − θ0), read tensor by tensor, in the base's dtypes. A tensor that is not floating point is the base's."""

    def __init__(self, base: Weights, finetuned: Sequence[Weights], coefficients: Sequence[float]) -> None:
        self.base, self.finetuned, self.coefficients = base, finetuned, coefficients

    def __getitem__(self, name: str) -> Tensor:
        stored = self.base[name]
        if not stored.is_floating_point():
            return stored
        theta0 = stored.float()
        moved = theta0.clone()
        for weights, alpha in zip(self.finetuned, self.coefficients, strict=True):
            if alpha:
                moved.add_(weights[name].float() - theta0, alpha=alpha)
        return moved.to(stored.dtype)


def disentanglement_error(alone: Sequence[np.ndarray], together: Sequence[np.ndarray]) -> float:
    """Mean over the tasks of the share of samples (n,) whose class differs between a task alone and both together, 0..1.

    NaN if a class is NaN: a model too far out gives no answers.
    """
    shares = []
    for one, both in zip(alone, together, strict=True):
        known = not (np.isnan(one).any() or np.isnan(both).any())
        shares.append(np.mean(one != both) if known else np.nan)
    return float(np.mean(shares))

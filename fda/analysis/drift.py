"""Feature drift: how far a merged model's hidden states are from the expert's, and where that comes from.

FeatCal (arXiv 2605.13030) splits the drift after block l of merged φ_m and expert φ_e, with inputs h_m and h_e, into upstream
propagation and local mismatch: φ_m(h_m) − φ_e(h_e) = [φ_m(h_m) − φ_m(h_e)] + [φ_m(h_e) − φ_e(h_e)].
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Drift:
    """Sums of squares over tokens. Inherited and own do not add up to the total: twice their inner product is missing."""

    total: float = 0.0
    inherited: float = 0.0
    own: float = 0.0
    energy: float = 0.0  # of the expert's states

    def add(self, merged: Tensor, merged_on_expert: Tensor, expert: Tensor, weight: Tensor | None = None) -> None:
        """Add a batch: φ_m(h_m), φ_m(h_e) and φ_e(h_e), each (n, tokens, d). `weight` (n, tokens): 0 leaves a token out."""
        for name, part in (
            ("total", merged - expert),
            ("inherited", merged - merged_on_expert),
            ("own", merged_on_expert - expert),
            ("energy", expert),
        ):
            squares = part.square().sum(-1)
            squares = squares if weight is None else squares * weight
            setattr(self, name, getattr(self, name) + float(squares.sum(dtype=torch.float32)))

    def relative(self) -> tuple[float, float, float]:
        """Total, inherited and own, each divided by E‖h_e‖²; NaN without any energy."""
        energy = self.energy or torch.nan
        return self.total / energy, self.inherited / energy, self.own / energy

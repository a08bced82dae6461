"""Least squares on stand-ins for a layer's inputs: τᵀτ in place of the second moments of the inputs that trained τ.

A linear layer's task vector is a sum of products of output gradients and inputs, so its rows lie in the space of the inputs
and τᵀτ weighs that space. The merged update M then minimises Σ tr[(M − τi) Ci (M − τi)ᵀ], as RegMean's does with the real
moments. What Ci is, and how the system is solved, is left to the methods. All in float64: weak directions are divided by
their small eigenvalues.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fda.merging.math.singular import ROWS, gram

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Sums:
    """Sums over tasks of one m × n matrix, in float64."""

    total: "Tensor"  # Σ τi, m × n
    pull: "Tensor"  # Σ τi Ci, m × n
    moments: "Tensor"  # Σ Ci, n × n


def sums(taus: Iterable["Tensor"], moments: Callable[["Tensor"], "Tensor"]) -> Sums:
    """`moments`: τi → Ci (n × n, float64). One τi is in memory at a time."""
    found: Sums | None = None
    for tau in taus:
        own = moments(tau)
        if found is None:
            found = Sums(tau.double(), _times(tau, own), own)
        else:
            found.total.add_(tau)
            found.pull.add_(_times(tau, own))
            found.moments.add_(own)
        del own
    assert found is not None, "a merge has at least one task"
    return found


def second_moments(tau: "Tensor") -> "Tensor":
    """τᵀτ (n × n, float64) of an m × n matrix."""
    return gram(tau, tau.new_ones(()))


def normalised(moments: "Tensor", trace: float) -> "Tensor":
    """Scaled in place to this trace; zero stays zero."""
    own = moments.trace()
    return moments.mul_(trace / own) if own > 0 else moments


def least_norm(found: Sums) -> "Tensor":
    """Σ τi Ci (Σ Ci)⁺ in float32. Eigenvalues below n · 1.2e-7 of the largest count as zero: the task vectors are float32."""
    import torch

    values, vectors = torch.linalg.eigh(found.moments)  # ascending
    floor = len(values) * torch.finfo(torch.float32).eps * values[-1].clamp(min=0)
    inverse = torch.where(values > floor, 1 / values, 0.0)
    return (((found.pull @ vectors) * inverse) @ vectors.T).float()


def ridge(found: Sums, towards: "Tensor", strength: float) -> "Tensor":
    """(Σ τi Ci + λ A)(Σ Ci + λ I)⁻¹ in float32, A = `towards` (m × n), λ = `strength` > 0."""
    import torch

    system = found.moments + strength * torch.eye(len(found.moments), dtype=torch.float64)
    pull = found.pull + strength * towards.double()
    return torch.cholesky_solve(pull.T, torch.linalg.cholesky(system)).T.float()


def filtered(found: Sums, keep: Callable[["Tensor"], "Tensor"]) -> "Tensor":
    """The least-squares solution where it is resolved, and Σ τi elsewhere, in float32.

    With Σ Ci = V diag(λ) Vᵀ, λ at least 1e-8 and descending, and `keep`: λ → f (0 … 1) the share that is resolved,
    M = S + (D V diag(f/λ) − S V diag(f)) Vᵀ, where S = Σ τi and D = Σ τi Ci.
    """
    import torch

    values, vectors = torch.linalg.eigh(found.moments)
    values, vectors = values.flip(0).clamp(min=1e-8), vectors.flip(1)
    share = keep(values)
    change = (found.pull @ vectors) * (share / values) - (found.total @ vectors) * share
    return (found.total + change @ vectors.T).float()


def _times(tau: "Tensor", square: "Tensor") -> "Tensor":
    """τ @ `square` in float64, a few rows of τ at a time."""
    import torch

    found = torch.empty(tau.shape, dtype=torch.float64)
    for place, rows in zip(found.split(ROWS), tau.split(ROWS), strict=True):
        torch.mm(rows.double(), square, out=place)
    return found

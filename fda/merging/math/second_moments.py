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
    summed: Sums | None = None
    for tau in taus:
        task_moments = moments(tau)
        if summed is None:
            summed = Sums(tau.double(), _times(tau, task_moments), task_moments)
        else:
            summed.total.add_(tau)
            summed.pull.add_(_times(tau, task_moments))
            summed.moments.add_(task_moments)
        del task_moments
    assert summed is not None, "a merge has at least one task"
    return summed


def second_moments(tau: "Tensor") -> "Tensor":
    """τᵀτ (n × n, float64) of an m × n matrix."""
    return gram(tau, tau.new_ones(()))


def normalised(moments: "Tensor", trace: float) -> "Tensor":
    """Scaled in place to this trace; zero stays zero."""
    current_trace = moments.trace()
    return moments.mul_(trace / current_trace) if current_trace > 0 else moments


def least_norm(summed: Sums) -> "Tensor":
    """Σ τi Ci (Σ Ci)⁺ in float32. Eigenvalues below n · 1.2e-7 of the largest count as zero: the task vectors are float32."""
    import torch

    values, vectors = torch.linalg.eigh(summed.moments)  # ascending
    floor = len(values) * torch.finfo(torch.float32).eps * values[-1].clamp(min=0)
    inverse = torch.where(values > floor, 1 / values, 0.0)
    return (((summed.pull @ vectors) * inverse) @ vectors.T).float()


def ridge(summed: Sums, towards: "Tensor", strength: float) -> "Tensor":
    """(Σ τi Ci + λ A)(Σ Ci + λ I)⁻¹ in float32, A = `towards` (m × n), λ = `strength` > 0."""
    import torch

    system = summed.moments + strength * torch.eye(len(summed.moments), dtype=torch.float64)
    pull = summed.pull + strength * towards.double()
    return torch.cholesky_solve(pull.T, torch.linalg.cholesky(system)).T.float()


def filtered(summed: Sums, keep: Callable[["Tensor"], "Tensor"]) -> "Tensor":
    """The least-squares solution where it is resolved, and Σ τi elsewhere, in float32.

    With Σ Ci = V diag(λ) Vᵀ, λ at least 1e-8 and descending, and `keep`: λ → f (0 … 1) the share that is resolved,
    M = S + (D V diag(f/λ) − S V diag(f)) Vᵀ, where S = Σ τi and D = Σ τi Ci.
    """
    import torch

    values, vectors = torch.linalg.eigh(summed.moments)
    values, vectors = values.flip(0).clamp(min=1e-8), vectors.flip(1)
    share = keep(values)
    change = (summed.pull @ vectors) * (share / values) - (summed.total @ vectors) * share
    return (summed.total + change @ vectors.T).float()


def _times(tau: "Tensor", square: "Tensor") -> "Tensor":
    """τ @ `square` in float64, a few rows of τ at a time."""
    import torch

    product = torch.empty(tau.shape, dtype=torch.float64)
    for product_rows, rows in zip(product.split(ROWS), tau.split(ROWS), strict=True):
        torch.mm(rows.double(), square, out=product_rows)
    return product

"""Anchored ridge: least squares on stand-ins for the inputs that stays near another merge instead of near the base.

The merge that it stays near is called its anchor in the paper; it has nothing to do with functional dual anchors.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from fda.merging.math.matrices import is_solved, parts, rows_of
from fda.merging.math.second_moments import normalised, ridge, second_moments, sums
from fda.merging.method import Hyper, Weights
from fda.merging.methods.tsv import tsv
from fda.merging.modifier import Merged, modifier

if TYPE_CHECKING:
    from torch import Tensor


@modifier(
    name="anchored_ridge",
    title="anchored ridge",
    idea="Fit each layer to the task vectors, with τᵀτ in place of real moments, by ridge regression towards that merge.",
    paper="https://arxiv.org/abs/2605.12843",
    year=2026,
    linear=False,
)
def ridge_towards(
    merge: Merged,
    base: Weights,
    finetuned: Sequence[Weights],
    *,
    strength: Annotated[
        float, Hyper("strength λ of the pull towards the other merge", 1e-6, None, "1, ours; the paper searches it")
    ] = 1.0,
) -> Iterator[tuple[str, "Tensor"]]:
    """θ = θ0 + (Σ τi Ci + λ A)(Σ Ci + λ I)⁻¹ for the matrices of ACTMat, A the other merge's update; the rest is that merge's.

    Ci = τiᵀτi scaled to unit mean diagonal, so that λ means the same in every layer. This is the inner step of Bayesian
    Model Merging's data-free variant (2605.12843), whose outer search on validation data is left out.
    """
    import torch

    def moments(tau: "Tensor") -> "Tensor":
        return normalised(second_moments(tau), tau.shape[1])

    for name, theta in merge(base, finetuned):
        theta0 = base[name].float()
        if is_solved(name, theta0):
            update = theta - theta0
            solved = [
                ridge(sums(rows_of(part, name, theta0, finetuned), moments), update[part], strength)
                for part in parts(name, theta0)
            ]
            theta = theta0 + torch.cat(solved)
        yield name, theta


# With TSV-M, the strongest of the merges that the paper pulls towards (TA, TSV-M, WUDI), as a method of its own.
anchored_ridge = replace(
    ridge_towards.on(tsv),
    name="anchored_ridge",
    title="Anchored ridge",
    idea=ridge_towards.idea.replace("that merge", "TSV-M"),
)

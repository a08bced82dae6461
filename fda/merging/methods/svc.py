"""SVC: singular value calibration of a merged update, against directions that several tasks share and that add up."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from fda.checkpoints.treatments import is_matrix
from fda.merging.math.singular import full_top_triples
from fda.merging.method import Hyper, Weights, task_vectors
from fda.merging.modifier import Merged, modifier

if TYPE_CHECKING:
    from torch import Tensor


@modifier(
    name="svc",
    title="SVC",
    idea="Scale each singular value of the merged update by how often the tasks count its direction.",
    paper="https://arxiv.org/abs/2602.05536",
    year=2026,
    linear=False,
)
def svc(
    merge: Merged,
    base: Weights,
    finetuned: Sequence[Weights],
    *,
    floor: Annotated[
        float, Hyper("α, the least that s counts; 0 takes 1/T", 0.0, 1.0, "1/T in the released code; 1 on TSV-M")
    ] = 0.0,
) -> Iterator[tuple[str, "Tensor"]]:
    """θ0 + U diag(γ σ) Vᵀ of a merged matrix θ0 + U diag(σ) Vᵀ, γ_r = T / Σ_i max(α, s_ir) (2602.05536, algorithm 1).

    s_ir = ⟨u_rᵀΔ, u_rᵀτi⟩ / ‖u_rᵀτi‖², Δ the merged update: above 1, the merge has more of the direction u_r than task i.
    s counts as 0 where u_rᵀτi is zero. As in the released code the text projection and embeddings stay, and vectors too.
    """
    for name, theta in merge(base, finetuned):
        theta0 = base[name].float()
        if is_matrix(name, theta0) and "embedding" not in name:
            update = theta - theta0
            if bool(update.any()):
                theta = theta0 + calibrated(update, task_vectors(name, theta0, finetuned), floor or 1 / len(finetuned))
        yield name, theta


def calibrated(update: "Tensor", taus: Iterable["Tensor"], floor: float) -> "Tensor":
    """U diag(γ σ) Vᵀ of an m × n update."""
    left, values, right = full_top_triples(update, min(update.shape))
    counted, tasks = values.new_zeros(len(values)), 0
    for tau in taus:
        responses = left.T @ tau  # rows u_rᵀτ
        squares = responses.square().sum(dim=1)
        shares = values * (responses * right).sum(dim=1) / squares.clamp(min=1e-12)
        counted += shares.clamp_(min=floor)
        tasks += 1
    return (left * (tasks / counted * values)) @ right

"""Model Stock."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from fda.errors import UserError
from fda.merging.method import Weights, all_weights, merging_method

if TYPE_CHECKING:
    from torch import Tensor


@merging_method(
    name="model_stock",
    title="Model Stock",
    idea="Move the average towards the base by as much as the task vectors disagree in direction.",
    paper="https://arxiv.org/abs/2403.19522",
    year=2024,
)
def model_stock(base: Weights, finetuned: Sequence[Weights]) -> Iterator[tuple[str, "Tensor"]]:
    """θ = θ0 + t · mean τi, t = T cos ϑ / (1 + (T − 1) cos ϑ), ϑ the angle between task vectors (Jang et al. 2024).

    Per tensor. The paper has one angle; for T > 2, cos ϑ is the mean over the pairs, as in mergekit. A zero task vector
    counts as orthogonal. The paper's ratio is an interpolation, so a negative mean cosine gives t = 0, the base; mergekit
    and fusion_bench extrapolate there, without bound as cos ϑ nears −1/(T − 1), which a bias of one entry reaches.
    mergekit also takes tensors whose norms multiply to less than 1e-6 for orthogonal; here their angle counts.
    Raises UserError for fewer than two tasks.
    """
    if len(finetuned) < 2:
        raise UserError("model_stock compares the directions of task vectors: choose at least two tasks.")
    for name, theta0, taus in all_weights(base, finetuned):
        cosine = max(0.0, _mean_cosine(taus))
        ratio = len(taus) * cosine / (1 + (len(taus) - 1) * cosine)
        yield name, theta0 + ratio * (sum(taus) / len(taus))


def _mean_cosine(taus: Sequence["Tensor"]) -> float:
    """The mean cosine over all pairs; computed in float64, where the norms of small tensors do not underflow."""
    norms = [float(tau.double().norm()) for tau in taus]
    cosines = []
    for (a, norm_a), (b, norm_b) in combinations(zip(taus, norms, strict=True), 2):
        product = norm_a * norm_b
        cosines.append(float((a.double() * b.double()).sum()) / product if product else 0.0)
    return sum(cosines) / len(cosines)

"""Model Stock."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fda.errors import UserError
from fda.merging.method import Weights, all_weights, merging_method

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 1 << 18  # entries of each task vector multiplied at once: keeps the float64 copies small


@merging_method(
    name="model_stock",
    title="Model Stock",
    idea="Move the average towards the base by as much as the task vectors disagree in direction.",
    paper="https://arxiv.org/abs/2403.19522",
    year=2024,
    least_tasks=2,
)
def model_stock(base: Weights, finetuned: Sequence[Weights]) -> Iterator[tuple[str, "Tensor"]]:
    """θ = θ0 + t · mean τi, t = T cos ϑ / (1 + (T − 1) cos ϑ), ϑ the angle between task vectors (Jang et al. 2024).

    t is computed per tensor. The paper has one angle; for T > 2, cos ϑ is the mean over the pairs, as in mergekit. A zero
    task vector counts as orthogonal. The paper's ratio is an interpolation, so a negative mean cosine gives t = 0, the
    base; fusion_bench and mergekit 0.1.5 extrapolate there, far as cos ϑ nears −1/(T − 1), which a bias of one entry
    reaches; mergekit takes the base only within 1e-6 of it. mergekit also divides by 1e-6 where the product of two norms is
    smaller, so that small tensors look orthogonal; here their angle counts.
    Raises UserError for fewer than two tasks.
    """
    if len(finetuned) < 2:
        raise UserError("model_stock compares the directions of task vectors: choose at least two tasks.")
    for name, theta0, taus in all_weights(base, finetuned):
        cosine = max(0.0, _mean_cosine(taus))
        ratio = len(taus) * cosine / (1 + (len(taus) - 1) * cosine)
        yield name, theta0 + ratio * (sum(taus) / len(taus))


def _mean_cosine(taus: Sequence["Tensor"]) -> float:
    """The mean cosine over all pairs, in float64, so that the norms of small tensors do not underflow."""
    import torch

    tasks = len(taus)
    gram = torch.zeros(tasks, tasks, dtype=torch.float64)
    for parts in zip(*(tau.reshape(-1).split(CHUNK) for tau in taus), strict=True):
        block = torch.stack(parts).double()  # T × chunk
        gram += block @ block.T
    norms = gram.diagonal().sqrt()
    cosines = (gram / torch.outer(norms, norms)).nan_to_num_(0.0)
    return float(cosines.triu(diagonal=1).sum()) / (tasks * (tasks - 1) / 2)

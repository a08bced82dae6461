"""TSV-M: task singular vectors, merged without interference."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

from fda.checkpoints.treatments import is_matrix
from fda.merging.math.parallel import LARGE, MOST_LANES, side_by_side
from fda.merging.math.singular import polar, top_triples
from fda.merging.method import UP_TO_3, Hyper, Weights, each_tensor, merging_method, summed, task_vectors

if TYPE_CHECKING:
    from torch import Tensor


@merging_method(
    name="tsv",
    title="TSV-M",
    idea="Keep the top 1/T of each task's singular vectors and make those of different tasks orthogonal.",
    paper="https://arxiv.org/abs/2412.00081",
    year=2025,
)
def tsv(
    base: Weights,
    finetuned: Sequence[Weights],
    *,
    scale: Annotated[
        float, Hyper("coefficient α of the merged update", 0.0, 3.0, "1 in Gargiulo et al. 2025", UP_TO_3)
    ] = 1.0,
) -> Iterator[tuple[str, "Tensor"]]:
    """θ = θ0 + α Δ; for a matrix Δ = U⊥ diag(S) V⊥ᵀ of the concatenated truncated SVDs, else the mean of τi.

    Each task keeps k = ⌊r/T⌋ of its r = min(m, n) singular triples; U and V are made orthogonal by their polar factor
    (Gargiulo et al. 2025, section 4 and released code).
    """
    for name, theta0 in each_tensor(base):
        keep = min(theta0.shape) // len(finetuned) if is_matrix(name, theta0) else 0
        taus = task_vectors(name, theta0, finetuned)
        lanes = 1 if theta0.numel() > LARGE else MOST_LANES
        # keep = 0: a vector, or a matrix with fewer singular directions than tasks
        update = _orthogonal_sum(taus, keep, lanes) if keep else summed(list(taus)).div_(len(finetuned))
        yield name, update.mul_(scale).add_(theta0)
        del update  # before the next tensor is read


def _orthogonal_sum(taus: Iterator["Tensor"], keep: int, lanes: int) -> "Tensor":
    """The merged update of one m × n matrix from the `keep` leading triples of each task. At most `lanes` τi are in memory."""
    import torch

    pieces = map(lambda tau: partial(top_triples, tau, keep), taus)  # a generator would keep the last τ alive
    triples = list(side_by_side(pieces, most=lanes))
    left = torch.cat([u for u, _, _ in triples], dim=1)  # m × kT
    values = torch.cat([s for _, s, _ in triples])
    right = torch.cat([vt for _, _, vt in triples])  # kT × n
    del triples
    if not values.any():  # no task changed the matrix, such as a frozen one
        return left.new_zeros(len(left), right.shape[1])
    left, right = side_by_side([partial(polar, factor, out=factor) for factor in (left, right)], most=lanes)
    return left.mul_(values) @ right

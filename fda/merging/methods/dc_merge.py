"""DC-Merge: TIES between the tasks' updates in a common basis of singular directions."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

from fda.checkpoints.treatments import is_matrix
from fda.merging.math.consensus import elected_mean
from fda.merging.math.parallel import LARGE, MOST_LANES, side_by_side
from fda.merging.math.singular import polar, top_triples
from fda.merging.method import UP_TO_3, Hyper, Weights, each_tensor, merging_method, summed, task_vectors, total

if TYPE_CHECKING:
    from torch import Tensor


@merging_method(
    name="dc_merge",
    title="DC-Merge",
    idea="Express each task's leading singular directions in a common basis, and merge their largest entries by TIES there.",
    paper="https://arxiv.org/abs/2603.06242",
    year=2026,
)
def dc_merge(
    base: Weights,
    finetuned: Sequence[Weights],
    *,
    density: Annotated[
        float,
        Hyper("fraction of the entries of each task's core matrix that is kept", 0.0, 1.0, "0.001, released code"),
    ] = 1e-3,
    scale: Annotated[
        float,
        Hyper("coefficient α of the merged update", 0.0, 3.0, "1; the released code chooses it by validation", UP_TO_3),
    ] = 1.0,
) -> Iterator[tuple[str, "Tensor"]]:
    """θ = θ0 + α U⊥ M V⊥ᵀ for matrices, else the mean of τi (DC-Merge, 2603.06242, released code).

    Each task keeps k = ⌊r/T⌋ of its r = min(m, n) singular triples, τ̂i; U⊥ and V⊥ are the polar factors of all left and
    all right vectors, as in TSV-M. Of each core matrix Mi = U⊥ᵀ τ̂i V⊥ the max(1, ⌊r²·density⌋) largest |entries| are kept.
    M is the mean of the entries with the sign of their sum, in the T diagonal blocks of size k, and zero outside them.
    """
    for name, theta0 in each_tensor(base):
        keep = min(theta0.shape) // len(finetuned) if is_matrix(name, theta0) else 0
        taus = task_vectors(name, theta0, finetuned)
        lanes = 1 if theta0.numel() > LARGE else MOST_LANES
        # keep = 0: a vector, or a matrix with fewer singular directions than tasks
        update = _merged(taus, keep, density, lanes) if keep else summed(list(taus)).div_(len(finetuned))
        yield name, update.mul_(scale).add_(theta0)
        del update  # before the next tensor is read


def _merged(taus: Iterator["Tensor"], keep: int, density: float, lanes: int) -> "Tensor":
    """The merged update of one m × n matrix from the `keep` leading triples of each task. At most `lanes` τi are in memory."""
    import torch

    pieces = map(lambda tau: partial(top_triples, tau, keep), taus)  # a generator would keep the last τ alive
    triples = list(side_by_side(pieces, most=lanes))
    left = torch.cat([u for u, _, _ in triples], dim=1)  # m × kT
    right = torch.cat([vt for _, _, vt in triples])  # kT × n
    if not any(bool(values.any()) for _, values, _ in triples):  # no task changed the matrix, such as a frozen one
        return left.new_zeros(len(left), right.shape[1])
    most = max(1, int(min(len(left), right.shape[1]) ** 2 * density))
    left, right = side_by_side([partial(polar, factor) for factor in (left, right)], most=lanes)
    cores = [_largest((left.T @ u * values) @ (vt @ right.T), most) for u, values, vt in triples]
    core = elected_mean(cores, 1) * (total(cores) != 0)  # where a sum is exactly zero, no sign is elected
    return left @ (core * _blocks(keep, len(cores))) @ right


def _largest(core: "Tensor", most: int) -> "Tensor":
    """The matrix with its `most` largest |entries|, and those tied with the smallest of them."""
    magnitude = core.abs()
    bound = magnitude.flatten().topk(min(most, core.numel())).values[-1]
    return core * (magnitude >= bound)


def _blocks(size: int, count: int) -> "Tensor":
    """1 in the `count` diagonal blocks of this size, 0 elsewhere."""
    import torch

    return torch.block_diag(*(torch.ones(size, size) for _ in range(count)))

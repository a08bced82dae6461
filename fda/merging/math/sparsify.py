"""First step of the TA / TIES / DARE / DELLA / Breadcrumbs family: make one task vector sparse.

The family is one pipeline: sparsify (here), consensus (`fda.merging.math.consensus`), scale. Random rules seed a new
generator for every (seed, task, tensor), so neither the order nor the number of passes changes a result.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from fda.merging.math.threshold import count_coarse, kth_smallest
from fda.merging.method import Hyper, Weights, all_weights

if TYPE_CHECKING:
    from torch import Generator, Tensor

CHUNK = 1 << 18  # entries that `drop` draws or `magprune` ranks together: bounds the int64 ranks to 2 MB

Sparsify = Callable[["Tensor", int, str], "Tensor"]
DropRate = Annotated[
    float,
    Hyper(
        "drop rate p", 0.0, 1.0, "0.2 in the merging commands of Yu et al. 2023; fusion_bench 0.5, WUDI's tables 0.7"
    ),
]
MaskSeed = Annotated[int, Hyper("seed of the random masks", 0, None, "ours: the released code uses the global state")]


def sparsified(
    base: Weights, finetuned: Sequence[Weights], sparsify: Sparsify
) -> Iterator[tuple[str, "Tensor", list["Tensor"]]]:
    """`all_weights` with every task vector replaced by `sparsify(τ, task, name)`."""
    for name, theta0, taus in all_weights(base, finetuned):
        for task in range(len(taus)):
            taus[task] = sparsify(taus[task], task, name)
        yield name, theta0, taus


def dropped(
    base: Weights, finetuned: Sequence[Weights], rate: float, seed: int
) -> Iterator[tuple[str, "Tensor", list["Tensor"]]]:
    """`all_weights` with every task vector dropped by DARE; each call draws the same masks."""
    return sparsified(base, finetuned, lambda tau, task, name: drop(tau, rate, generator(seed, task, name)))


def generator(seed: int, task: int, name: str) -> "Generator":
    """The random generator of one tensor of one task."""
    import torch

    digest = hashlib.sha256(f"{seed}/{task}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def drop(tau: "Tensor", rate: float, random: "Generator") -> "Tensor":
    """DARE: drop each entry with probability `rate` and divide the others by 1 − rate; the expectation is τ.

    Works in place; τ must be contiguous.
    """
    import torch

    if rate >= 1:
        return tau.zero_()
    for part in tau.view(-1).split(CHUNK):
        part.masked_fill_(torch.rand(part.shape, generator=random) < rate, 0)
    return tau.div_(1 - rate)


def magprune(tau: "Tensor", density: float, epsilon: float, random: "Generator") -> "Tensor":
    """DELLA's MagPrune: keep an entry with a probability that grows with its magnitude's rank in its row.

    The smallest entry of a row is kept with probability density − ε, the largest with density + ε, linearly in between; a
    kept entry is divided by its probability, so the expectation is τ. Equal magnitudes are ranked by position. A row is an
    index of the first dimension; a vector is one row. A row of one entry is kept with probability density.
    """
    import torch

    if density >= 1:
        return tau
    rows = tau.reshape(1, -1) if tau.ndim < 2 else tau.flatten(1)
    width = rows.shape[1]
    half = epsilon if width > 1 else 0.0
    by_rank = torch.linspace(density - half, density + half, width)
    pruned = []
    for part in rows.split(max(1, CHUNK // max(width, 1))):
        keep = torch.empty_like(part).scatter_(1, _by_magnitude(part), by_rank.expand_as(part))
        pruned.append((part * (torch.rand(part.shape, generator=random) < keep)).div_(keep))
    return torch.cat(pruned).reshape(tau.shape)


def _by_magnitude(rows: "Tensor") -> "Tensor":
    """The stable argsort of |rows| along dimension 1.

    Sorts integers made of the magnitude's bits and, below them, the position. NumPy needs 40 % of the time of torch's
    stable argsort: 15 s instead of 37 s for eight models of 100 M parameters.
    """
    import torch

    keys = (rows.abs().view(torch.int32).long() << 32) | torch.arange(rows.shape[1])
    keys.numpy().sort(axis=1)
    return keys & 0xFFFFFFFF


def crumbs(tau: "Tensor", density: float, outliers: float) -> "Tensor":
    """Breadcrumbs: drop the ⌊n·outliers⌋ largest of the n magnitudes, then keep the ⌊n·density⌋ largest of the others.

    Entries tied with the largest or the smallest kept one are kept too. If the two fractions add up to more than 1, fewer
    outliers are dropped, so that the density is right.
    """
    import torch

    n = tau.numel()
    keep = min(int(n * density), n)
    top = min(int(n * outliers), n - keep)
    if keep == 0:
        return torch.zeros_like(tau)
    if keep == n:
        return tau
    coarse = count_coarse(lambda: [[tau]], 1)
    (high,) = kth_smallest(lambda: [[tau]], coarse, n - top)
    (low,) = kth_smallest(lambda: [[tau]], coarse, n - top - keep + 1)
    magnitude = tau.abs()
    return tau * ((magnitude >= low) & (magnitude <= high))

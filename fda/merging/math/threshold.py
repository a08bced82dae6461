"""The exact k-th magnitude of a task vector too large to hold: two passes over its tensors, counting float bits.

Non-negative float32 numbers have the same order as their bits read as integers. The first pass counts the upper 16 bits,
which finds the bucket of the k-th magnitude; the second counts the lower 16 bits within that bucket. Two small histograms
a task are in memory, whatever the model's size.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 1 << 18  # entries counted together: temporaries of 1 MB stay in the cache
BUCKETS = 1 << 15  # the sign bit of a magnitude is 0
FINE = 1 << 16

Pass = Callable[[], Iterable[list["Tensor"]]]


def keep_thresholds(vectors: Pass, tasks: int, density: float) -> list[float]:
    """For each task the smallest magnitude to keep, so that a fraction `density` of its entries is kept.

    `vectors` starts a pass that gives the T task vectors of each tensor. As in TIES' released code the threshold is the
    (d − ⌊d·density⌋)-th smallest of all d magnitudes, and entries equal to it are kept: one entry more than ⌊d·density⌋,
    or more if magnitudes are tied. A density of at least 1 gives 0.0, which keeps everything.
    """
    if density >= 1:
        return [0.0] * tasks
    counts = count_coarse(vectors, tasks)
    total = int(counts[0].sum())
    return kth_smallest(vectors, counts, total - int(total * density)) if total else [0.0] * tasks


def kth_smallest(vectors: Pass, coarse: "Tensor", rank: int) -> list[float]:
    """For each task its rank-th smallest magnitude, counted from 1; `coarse` is `count_coarse` of the same vectors."""
    import torch

    tasks = len(coarse)
    upto = coarse.cumsum(dim=1)
    buckets = [int(torch.searchsorted(row, rank)) for row in upto]
    below = [int(upto[task, bucket] - coarse[task, bucket]) for task, bucket in enumerate(buckets)]
    fine = torch.zeros(tasks, FINE, dtype=torch.int64)
    for taus in vectors():
        for task, tau in enumerate(taus):
            for bits in _magnitude_bits(tau):
                fine[task] += torch.bincount(bits[bits >> 16 == buckets[task]] & (FINE - 1), minlength=FINE)
    lows = [int(torch.searchsorted(row.cumsum(dim=0), rank - below[task])) for task, row in enumerate(fine)]
    bits = torch.tensor([bucket << 16 | low for bucket, low in zip(buckets, lows, strict=True)], dtype=torch.int32)
    return bits.view(torch.float32).tolist()


def count_coarse(vectors: Pass, tasks: int) -> "Tensor":
    """How many magnitudes share each value of the upper 16 bits: (T, 2¹⁵)."""
    import torch

    counts = torch.zeros(tasks, BUCKETS, dtype=torch.int64)
    for taus in vectors():
        for task, tau in enumerate(taus):
            for bits in _magnitude_bits(tau):
                counts[task] += torch.bincount(bits >> 16, minlength=BUCKETS)
    return counts


def _magnitude_bits(tau: "Tensor") -> Iterator["Tensor"]:
    import torch

    for chunk in tau.reshape(-1).split(CHUNK):
        yield chunk.abs().view(torch.int32)

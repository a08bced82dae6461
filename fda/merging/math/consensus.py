"""Second step of the TIES / DARE / DELLA family: elect a sign for every entry and average the task vectors that have it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from fda.merging.math.threshold import kept_from

if TYPE_CHECKING:
    from torch import Tensor

ENTRIES = 1 << 20  # looked at together: copies of an embedding would be the largest things in memory

WeightsPass = Callable[[], Iterable[tuple[str, "Tensor", list["Tensor"]]]]


def elected_mean(taus: Sequence["Tensor"], tie: int) -> "Tensor":
    """For every entry the mean of the τi that have the sign of Σ τi; 0 where none has.

    Where the sum is exactly zero the positive entries are taken if `tie` is positive, else the negative ones.
    """
    import torch

    total = sum(taus)
    positive = total >= 0 if tie > 0 else total > 0
    sign = total.fill_(-1).masked_fill_(positive, 1)
    mean = torch.zeros_like(sign)
    count = torch.zeros_like(sign)
    for tau in taus:
        agreeing = (tau * sign).clamp_(min=0)  # |τ| where it has the sign, else 0
        mean += agreeing
        count += agreeing > 0
    return mean.div_(count.clamp_(min=1)).mul_(sign)


def trim_elect_merge(weights: WeightsPass, tasks: int, density: float, scale: float) -> Iterator[tuple[str, "Tensor"]]:
    """TIES over the passes that `weights` starts, each giving (name, θ0, [τ1 … τT]); four passes, one tensor at a time.

    Passes 1 and 2 find each task's global threshold, pass 3 the majority sign of the whole vector, pass 4 merges.
    """
    thresholds = kept_from(lambda: (taus for _, _, taus in weights()), tasks, density)

    def trimmed(taus: list["Tensor"]) -> Iterator[tuple["Tensor", ...]]:
        """Some entries of every trimmed task vector at a time, as views."""
        for parts in zip(*(tau.view(-1).split(ENTRIES) for tau in taus), strict=True):
            for part, threshold in zip(parts, thresholds, strict=True):
                part.masked_fill_(part.abs() < threshold, 0)
            yield parts

    majority = 0
    for _, _, taus in weights():
        for parts in trimmed(taus):
            total = sum(parts)
            majority += int((total > 0).sum()) - int((total < 0).sum())
    for name, theta0, taus in weights():
        merged = taus[0]  # entry by entry, so the result may take its place
        for start, parts in zip(theta0.reshape(-1).split(ENTRIES), trimmed(taus), strict=True):
            parts[0].copy_(start + scale * elected_mean(parts, majority))
        yield name, merged

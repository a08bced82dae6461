"""Second step of the TIES / DARE / DELLA family: elect a sign for every entry and average the task vectors with that sign."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from fda.merging.math.parallel import on_one_thread
from fda.merging.math.threshold import keep_thresholds
from fda.merging.method import total

if TYPE_CHECKING:
    from torch import Tensor

ENTRIES = 1 << 20  # merged together: whole copies of an embedding would be the largest tensors in memory

WeightsPass = Callable[[], Iterable[tuple[str, "Tensor", list["Tensor"]]]]


def elected_mean(taus: Sequence["Tensor"], tie: int) -> "Tensor":
    """For every entry the mean of the τi with the sign of Σ τi; 0 where no τi has it.

    Where the sum is exactly zero, the sign is + if `tie` is positive, else −.
    """
    import torch

    sums = total(taus)
    positive = sums >= 0 if tie > 0 else sums > 0
    sign = sums.fill_(-1).masked_fill_(positive, 1)
    mean = torch.zeros_like(sign)
    count = torch.zeros_like(sign)
    for tau in taus:
        agreeing = (tau * sign).clamp_(min=0)  # |τ| where it has the sign, else 0
        mean += agreeing
        count += agreeing > 0
    return mean.div_(count.clamp_(min=1)).mul_(sign)


def trim_elect_merge(weights: WeightsPass, tasks: int, density: float, scale: float) -> Iterator[tuple[str, "Tensor"]]:
    """TIES in four passes, one tensor at a time; each call of `weights` starts a pass over (name, θ0, [τ1 … τT]).

    Passes 1 and 2 find each task's global threshold, pass 3 the majority sign of the whole vector, pass 4 merges. On one
    thread: with two, TIES took 3 to 15 times as long on a busy machine.
    """
    return on_one_thread(_trim_elect_merge(weights, tasks, density, scale))


def _trim_elect_merge(weights: WeightsPass, tasks: int, density: float, scale: float) -> Iterator[tuple[str, "Tensor"]]:
    thresholds = keep_thresholds(lambda: (taus for _, _, taus in weights()), tasks, density)

    def trimmed(taus: list["Tensor"]) -> Iterator[tuple["Tensor", ...]]:
        """The trimmed task vectors, `ENTRIES` entries of each at a time, as views."""
        for parts in zip(*(tau.view(-1).split(ENTRIES) for tau in taus), strict=True):
            for part, threshold in zip(parts, thresholds, strict=True):
                part.masked_fill_(part.abs() < threshold, 0)
            yield parts

    majority = 0
    for _, _, taus in weights():
        for parts in trimmed(taus):
            sums = total(parts)
            majority += int((sums > 0).sum()) - int((sums < 0).sum())
    for name, theta0, taus in weights():
        merged = taus[0]  # TIES works entry by entry, so the result can overwrite τ1
        for theta0_part, parts in zip(theta0.reshape(-1).split(ENTRIES), trimmed(taus), strict=True):
            parts[0].copy_(theta0_part + scale * elected_mean(parts, majority))
        yield name, merged

"""Second step of the TIES / DARE / DELLA family: elect a sign for every entry and average the task vectors that have it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from fda.merging.threshold import kept_from

if TYPE_CHECKING:
    from torch import Tensor

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

    def trimmed() -> Iterator[tuple[str, "Tensor", list["Tensor"]]]:
        for name, theta0, taus in weights():
            for tau, threshold in zip(taus, thresholds, strict=True):
                tau.masked_fill_(tau.abs() < threshold, 0)
            yield name, theta0, taus

    majority = 0
    for _, _, taus in trimmed():
        total = sum(taus)
        majority += int((total > 0).sum()) - int((total < 0).sum())
    for name, theta0, taus in trimmed():
        yield name, theta0 + scale * elected_mean(taus, majority)

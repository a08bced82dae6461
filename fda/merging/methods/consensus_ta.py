"""Consensus task arithmetic."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from fda.merging.method import UP_TO_1, Hyper, Weights, all_weights, merging_method, total

if TYPE_CHECKING:
    from torch import Tensor


@merging_method(
    name="consensus_ta",
    title="Consensus TA",
    idea="Task arithmetic on the entries that at least two tasks use.",
    paper="https://arxiv.org/abs/2405.07813",
    year=2024,
)
def consensus_ta(
    base: Weights,
    finetuned: Sequence[Weights],
    *,
    threshold: Annotated[
        float,
        Hyper(
            "λ of the TALL masks", 0.0, 5.0, "0.4, the middle of 0.2 … 0.6 that Wang et al. 2024 sweep for each task"
        ),
    ] = 0.4,
    used_by: Annotated[
        int, Hyper("keep entries that at least this many tasks use", 0, None, "2 in Wang et al. 2024")
    ] = 2,
    scale: Annotated[
        float,
        Hyper(
            "coefficient α of the masked sum",
            0.0,
            2.0,
            "0.3, task arithmetic's; Wang et al. 2024 sweep 0.1 … 1",
            UP_TO_1,
        ),
    ] = 0.3,
) -> Iterator[tuple[str, "Tensor"]]:
    """θ = θ0 + α · m ⊙ Σ τi, m = [#{i : |τi| > λ |Σ τj − τi|} ≥ used_by] (Wang et al. 2024, "Localizing task information").

    Entries that one task uses ("selfish") or none ("catastrophic") stay the base's, and so do all entries if there are
    fewer tasks than `used_by`. The authors choose λ for each task, and α, on validation data; here both are fixed.
    """
    import torch

    for name, theta0, taus in all_weights(base, finetuned):
        sums = total(taus)
        users = torch.zeros(sums.shape, dtype=torch.int16)
        for tau in taus:
            users += tau.abs() > (sums - tau).abs_().mul_(threshold)
        yield name, theta0 + scale * (sums * (users >= used_by))

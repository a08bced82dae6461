"""DARE with task arithmetic."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from fda.merging.math.sparsify import DropRate, MaskSeed, dropped
from fda.merging.method import UP_TO_1, Hyper, Weights, merging_method

if TYPE_CHECKING:
    from torch import Tensor


@merging_method(
    name="dare",
    title="DARE",
    idea="Drop random entries of the task vectors, rescale the rest, and add them.",
    paper="https://arxiv.org/abs/2311.03099",
    year=2023,
)
def dare(
    base: Weights,
    finetuned: Sequence[Weights],
    *,
    rate: DropRate = 0.2,
    scale: Annotated[
        float,
        Hyper("coefficient λ of the task vectors", 0.0, 2.0, "0.3, task arithmetic's, as in fusion_bench", UP_TO_1),
    ] = 0.3,
    seed: MaskSeed = 0,
) -> Iterator[tuple[str, "Tensor"]]:
    """θ = θ0 + λ Σ mi ⊙ τi / (1 − p), with mi = 0 with probability p (Yu et al. 2023, "Language models are super Mario").

    Entries of every floating-point tensor are dropped, vectors included, and the others divided by 1 − p, as in the
    released code; mergekit instead restores the L1 norm, and WUDI's baseline spares vectors. p = 1 gives θ = θ0.
    """
    for name, theta0, taus in dropped(base, finetuned, rate, seed):
        yield name, theta0 + scale * sum(taus)

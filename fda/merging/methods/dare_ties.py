"""DARE with TIES."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from fda.merging.math.consensus import trim_elect_merge
from fda.merging.math.sparsify import DropRate, MaskSeed, dropped
from fda.merging.method import UP_TO_3, Hyper, Weights, merging_method

if TYPE_CHECKING:
    from torch import Tensor


@merging_method(
    name="dare_ties",
    title="DARE-TIES",
    idea="Drop random entries of the task vectors, rescale the rest, and merge them by TIES.",
    paper="https://arxiv.org/abs/2311.03099",
    year=2023,
)
def dare_ties(
    base: Weights,
    finetuned: Sequence[Weights],
    *,
    rate: DropRate = 0.2,
    density: Annotated[
        float, Hyper("fraction of entries that TIES keeps", 0.0, 1.0, "20 % in the code of Yu et al. 2023")
    ] = 0.2,
    scale: Annotated[
        float, Hyper("coefficient λ of the merged task vector", 0.0, 3.0, "1 in the code of Yu et al. 2023", UP_TO_3)
    ] = 1.0,
    seed: MaskSeed = 0,
) -> Iterator[tuple[str, "Tensor"]]:
    """First DARE, then TIES: TIES on τ̂i = mi ⊙ τi / (1 − p), with mi = 0 with probability p (Yu et al. 2023).

    TIES trims a fraction of all entries, dropped ones included, as in the released code; mergekit's dare_ties does not
    trim. Each of the four passes draws the same masks again.
    """
    yield from trim_elect_merge(lambda: dropped(base, finetuned, rate, seed), len(finetuned), density, scale)

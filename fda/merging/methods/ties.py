"""TIES merging."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from fda.merging.math.consensus import trim_elect_merge
from fda.merging.method import UP_TO_3, Hyper, Weights, all_weights, merging_method

if TYPE_CHECKING:
    from torch import Tensor


@merging_method(
    name="ties",
    title="TIES",
    idea="Trim small entries, elect a sign for each, and average the entries that have it.",
    paper="https://arxiv.org/abs/2306.01708",
    year=2023,
)
def ties(
    base: Weights,
    finetuned: Sequence[Weights],
    *,
    density: Annotated[
        float, Hyper("fraction of each task vector's entries that is kept", 0.0, 1.0, "20 % in Yadav et al. 2023")
    ] = 0.2,
    scale: Annotated[
        float,
        Hyper(
            "coefficient λ of the merged task vector", 0.0, 3.0, "1 without validation in Yadav et al. 2023", UP_TO_3
        ),
    ] = 1.0,
) -> Iterator[tuple[str, "Tensor"]]:
    """θ = θ0 + λ · mean{τ̂i : sign τ̂i = γ}, γ = sign Σ τ̂i, where τ̂i keeps the largest `density` of |τi| (Yadav et al. 2023).

    τi = θi − θ0, and each entry has a γ of its own; where no τ̂i has the sign γ, θ is θ0. Yields each floating-point tensor's
    name and θ. As in the released code (prateeky2806/ties-merging, `ties_merging_utils`, "dis-mean"), one threshold serves all
    d entries of a task vector: the (⌊d·density⌋ + 1)-th largest |τi|, and what equals it stays; with density 1 all entries
    stay. Where Σ τ̂i is exactly zero, γ is the sign that the sums of most entries have.

    Not so elsewhere: fusion_bench adds the entries instead of averaging them, with λ = 0.3; mergekit trims each tensor by
    itself and takes + for a zero sum.
    """
    yield from trim_elect_merge(lambda: all_weights(base, finetuned), len(finetuned), density, scale)

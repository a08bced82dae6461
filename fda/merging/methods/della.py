"""DELLA merging."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from fda.errors import UserError
from fda.merging.math.consensus import elected_mean
from fda.merging.math.sparsify import MaskSeed, generator, magprune, sparsified
from fda.merging.method import UP_TO_3, Hyper, Weights, merging_method

if TYPE_CHECKING:
    from torch import Tensor


@merging_method(
    name="della",
    title="DELLA",
    idea="Drop small entries more often than large ones, elect signs, and average.",
    paper="https://arxiv.org/abs/2406.11617",
    year=2024,
)
def della(
    base: Weights,
    finetuned: Sequence[Weights],
    *,
    density: Annotated[
        float, Hyper("mean probability of keeping an entry", 0.0, 1.0, "0.7, the command in Deep et al.'s repository")
    ] = 0.7,
    epsilon: Annotated[
        float,
        Hyper("half the spread of the probability within a row", 0.0, 0.5, "0.07, half that command's window of 0.14"),
    ] = 0.07,
    scale: Annotated[
        float, Hyper("coefficient λ of the merged task vector", 0.0, 3.0, "1.1, the same command", UP_TO_3)
    ] = 1.1,
    seed: MaskSeed = 0,
) -> Iterator[tuple[str, "Tensor"]]:
    """θ = θ0 + λ · mean{τ̂i : sign τ̂i = γ}, γ = sign Σ τ̂i, with τ̂i drawn by MagPrune from τi (Deep et al. 2024).

    MagPrune keeps an entry with a probability linear in its magnitude's rank in its row, from density − ε to density + ε,
    and divides it by that probability, as in the released code; mergekit's "della" restores the L1 norm instead. Rows are
    indices of the first dimension; a vector is one row. Equal magnitudes are ranked by position; a zero sum has the sign +.
    Raises UserError if density ± ε leaves (0, 1); density 1 keeps everything.
    """
    if density < 1 and not 0 < density - epsilon <= density + epsilon < 1:
        raise UserError(f"della: density {density:g} ± epsilon {epsilon:g} leaves (0, 1): choose a smaller epsilon.")

    def prune(tau: "Tensor", task: int, name: str) -> "Tensor":
        return magprune(tau, density, epsilon, generator(seed, task, name))

    for name, theta0, taus in sparsified(base, finetuned, prune):
        yield name, theta0 + scale * elected_mean(taus, tie=1)

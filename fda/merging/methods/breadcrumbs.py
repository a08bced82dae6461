"""Model Breadcrumbs."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from fda.merging.math.sparsify import crumbs, sparsified
from fda.merging.method import UP_TO_1, Hyper, Weights, merging_method

if TYPE_CHECKING:
    from torch import Tensor


@merging_method(
    name="breadcrumbs",
    title="Breadcrumbs",
    idea="Cut the largest and the smallest entries of each task vector, and add the rest.",
    paper="https://arxiv.org/abs/2312.06795",
    year=2023,
)
def breadcrumbs(
    base: Weights,
    finetuned: Sequence[Weights],
    *,
    density: Annotated[
        float,
        Hyper("fraction of each tensor that is kept", 0.0, 1.0, "0.15, where the search of Davari et al. 2023 starts"),
    ] = 0.15,
    outliers: Annotated[
        float,
        Hyper("fraction of each tensor cut as outliers", 0.0, 1.0, "0.006, likewise; mergekit 0.01"),
    ] = 0.006,
    scale: Annotated[float, Hyper("coefficient α of the task vectors", 0.0, 2.0, "0.2, likewise", UP_TO_1)] = 0.2,
) -> Iterator[tuple[str, "Tensor"]]:
    """θ = θ0 + α Σ mi ⊙ τi, where mi cuts both tails of |τi| in each tensor (Davari & Belilovsky 2023, layer-wise masks).

    The ⌊n·outliers⌋ largest of a tensor's n entries are cut, and the ⌊n·density⌋ largest of the others are kept; entries
    tied with a bound stay. A tensor with n·density < 1 stays the base's. The paper masks per layer; mergekit and this
    function mask per tensor; the released code masks each row (last dimension). Where ⌊n·outliers⌋ = 0 nothing is cut at
    the top, as in mergekit 0.1.5; the versions before it returned an empty task vector. Of tied entries mergekit keeps
    just enough.
    """
    for name, theta0, taus in sparsified(base, finetuned, lambda tau, task, name: crumbs(tau, density, outliers)):
        yield name, theta0 + scale * sum(taus)

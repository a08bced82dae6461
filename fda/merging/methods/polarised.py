"""Polarised scaling: large task vectors, columns and layers count more, small ones less."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

from fda.checkpoints.treatments import is_matrix
from fda.merging.math.layers import place_of
from fda.merging.method import Hyper, Weights, each_tensor, task_vectors
from fda.merging.modifier import Merged, Rescaled, modifier

if TYPE_CHECKING:
    from torch import Tensor


@modifier(
    name="polarised",
    title="polarised",
    idea="Enlarge what has a large norm among tasks, input columns and layers, and shrink what has a small one.",
    paper="https://arxiv.org/abs/2602.20208",
    year=2026,
    linear=True,
)
def polarised(
    merge: Merged,
    base: Weights,
    finetuned: Sequence[Weights],
    *,
    power: Annotated[
        float, Hyper("power of each relative norm; 0 changes nothing", 0.0, 4.0, "2 in ESM (Li et al. 2026)")
    ] = 2.0,
) -> Iterator[tuple[str, "Tensor"]]:
    """`merge` of the matrices τi · a_i · b_i · diag(c), the data-free half of ESM (2602.20208).

    Each factor is a relative norm to the given power: a_i = ‖τi‖ over its mean among the tasks, b_i = ‖τi‖ over its mean
    among the layers' matrices of the same kind (equal names but for the layer's number), c_j = the norm of column j of τi
    over its mean among the columns. Applied to the task vectors before merging; vectors and the text projection stay.
    """
    norms = _norms(base, finetuned)
    kinds: dict[str, list[str]] = defaultdict(list)
    for name in norms:
        kinds[_kind(name)].append(name)

    def rescaled(task: int) -> Rescaled:
        def factor(name: str, tau: "Tensor") -> "float | Tensor":
            norm = norms[name][task] if name in norms else 0.0
            if not norm:
                return 1.0
            among_tasks = norm / fmean(norms[name])
            among_layers = norm / fmean(norms[other][task] for other in kinds[_kind(name)])
            columns = tau.norm(dim=0)
            return (among_tasks * among_layers * columns / columns.mean()) ** power

        return Rescaled(base, finetuned[task], factor)

    return merge(base, [rescaled(task) for task in range(len(finetuned))])


def _norms(base: Weights, finetuned: Sequence[Weights]) -> dict[str, list[float]]:
    """Matrix → ‖τi‖ of each task."""
    return {
        name: [float(tau.double().norm()) for tau in task_vectors(name, theta0, finetuned)]
        for name, theta0 in each_tensor(base)
        if is_matrix(name, theta0)
    }


def _kind(name: str) -> str:
    place = place_of(name)
    return name if place is None else f"{place.stack}*.{place.kind}"

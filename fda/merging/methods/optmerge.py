"""OptMerge: WUDI with targets and projectors of low rank."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from fda.checkpoints.treatments import is_inner_matrix
from fda.merging.math.interference import descended
from fda.merging.math.singular import top_triples
from fda.merging.method import UP_TO_3, Hyper, Weights, each_tensor, merging_method, summed, task_vectors

if TYPE_CHECKING:
    from torch import Tensor


@merging_method(
    name="optmerge",
    title="OptMerge",
    idea="WUDI between the leading singular directions of the task vectors only.",
    paper="https://arxiv.org/abs/2505.19892",
    year=2025,
)
def optmerge(
    base: Weights,
    finetuned: Sequence[Weights],
    *,
    lr: Annotated[float, Hyper("Adam's learning rate", 0.0, 1.0, "1e-5 in the released code")] = 1e-5,
    steps: Annotated[int, Hyper("Adam's steps", 0, None, "300 in the released code")] = 300,
    scale: Annotated[
        float, Hyper("coefficient of the merged update", 0.0, 3.0, "1; near 1/T for LLMs in the released code", UP_TO_3)
    ] = 1.0,
) -> Iterator[tuple[str, "Tensor"]]:
    """θ = θ0 + M, M from Σ τi by Adam on Σ ‖(M − ti) Piᵀ‖² / ‖τi‖² for matrices, else the mean of τi (OptMerge, WUDI v2).

    With K = ⌊min(m, n)/T⌋: ti is τ̄ plus the K leading singular triples of τi − τ̄, τ̄ the mean of τi; Pi = S_K V_Kᵀ of τi.
    All matrices but `lm_head`, as in the released code, of which this is the variant for CLIP;
    another goes by SGD from τ̄. A zero task vector adds nothing.
    """
    for name, theta0 in each_tensor(base):
        total = summed(list(task_vectors(name, theta0, finetuned)))
        keep = min(theta0.shape) // len(finetuned) if is_inner_matrix(name, theta0) else 0
        if keep:  # 0: a vector, or a matrix with fewer singular directions than tasks
            gram, slope = _quadratic(total, task_vectors(name, theta0, finetuned), len(finetuned), keep)
            total = descended(total, gram, slope, lr, steps)
        else:
            total.div_(len(finetuned))
        yield name, total.mul_(scale).add_(theta0)
        del total  # before the next tensor is read


def _quadratic(total: "Tensor", taus: Iterator["Tensor"], tasks: int, keep: int) -> tuple["Tensor", "Tensor"]:
    """(Σ Gi, Σ (S − ti) Gi) of one m × n matrix, Gi = PiᵀPi / ‖τi‖² and S = Σ τi = `total`. One τi is in memory at a time."""
    import torch

    gram, slope = total.new_zeros(total.shape[1], total.shape[1]), torch.zeros_like(total)
    mean = total / tasks
    for tau in taus:
        norm = tau.square().sum()
        if norm > 0:
            _, values, right = top_triples(tau, keep)
            task_gram = (right.T * (values.square() / norm)) @ right
            left, values, right = top_triples(tau.sub_(mean), keep)
            slope += (total - mean - (left * values) @ right) @ task_gram
            gram += task_gram
    return gram, slope

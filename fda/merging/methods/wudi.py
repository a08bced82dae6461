"""WUDI: data-free merging by least interference."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from fda.checkpoints.treatments import is_linear
from fda.merging.math.interference import descended
from fda.merging.method import Hyper, Weights, each_tensor, merging_method, task_vectors, total

if TYPE_CHECKING:
    from torch import Tensor


@merging_method(
    name="wudi",
    title="WUDI",
    idea="Optimise the summed task vectors, layer by layer, for the least interference with every task.",
    paper="https://arxiv.org/abs/2503.08099",
    year=2025,
)
def wudi(
    base: Weights,
    finetuned: Sequence[Weights],
    *,
    lr: Annotated[
        float, Hyper("Adam's learning rate", 0.0, 1.0, "1e-5 for CLIP in Cheng et al. 2025; 2e-5 for RoBERTa")
    ] = 1e-5,
    steps: Annotated[
        int, Hyper("Adam's steps", 0, None, "300 in Cheng et al. 2025; 400 in fusion_bench's config")
    ] = 300,
) -> Iterator[tuple[str, "Tensor"]]:
    """θ = θ0 + M for the weights of linear layers, M from Σ τi by Adam on Σ ‖(M − τi) τiᵀ‖² / ‖τi‖² (Cheng et al. 2025).

    All other tensors stay pretrained, as in the released code, which lists the linear weights of CLIP (`is_linear` here);
    fusion_bench optimises every matrix and averages the rest. The loss is quadratic, but Adam stops before its minimum: an
    entry moves by at most lr · steps, so these two regularise, and scaled checkpoints give another result. A zero task
    vector adds nothing; if all are zero, the tensor stays the base's.
    """
    for name, theta0 in each_tensor(base):
        if is_linear(name, theta0):
            theta0 = theta0 + least_interference(list(task_vectors(name, theta0, finetuned)), lr, steps)
        yield name, theta0


def least_interference(taus: Sequence["Tensor"], lr: float, steps: int) -> "Tensor":
    """M (m × n) after `steps` of Adam from M0 = Σ τi.

    With Gi = τiᵀτi / ‖τi‖² the gradient 2 Σ (M − τi) Gi is 2 [(M − M0) Σ Gi + Σ (M0 − τi) Gi]: one n × n product a step,
    however many tasks there are, and exactly zero where the tasks do not interfere.
    """
    import torch

    initial = total(taus)
    gram = initial.new_zeros(initial.shape[1], initial.shape[1])
    slope = torch.zeros_like(initial)
    for tau in taus:
        norm = tau.square().sum()
        if norm > 0:
            task_gram = tau.T @ tau / norm
            gram += task_gram
            slope += (initial - tau) @ task_gram
    return descended(initial, gram, slope, lr, steps)

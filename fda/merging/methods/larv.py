"""LARV: scale each layer's task vectors by how concentrated, how deep and how free of conflict with the base they are."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import exp, log1p, tanh
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

from fda.checkpoints.treatments import is_matrix
from fda.merging.math.layers import depths, place_of, standardised
from fda.merging.math.second_moments import second_moments
from fda.merging.method import Hyper, Weights, each_tensor, task_vectors
from fda.merging.modifier import Merged, Rescaled, modifier

if TYPE_CHECKING:
    from torch import Tensor

Layer = tuple[str, int]  # of a stack of layers, the number


@modifier(
    name="larv",
    title="LARV",
    idea="Scale each layer's task vectors up where they are concentrated and deep, down where they conflict with the base.",
    paper="https://arxiv.org/abs/2602.09413",
    year=2026,
    linear=True,
)
def larv(
    merge: Merged,
    base: Weights,
    finetuned: Sequence[Weights],
    *,
    rank_power: Annotated[float, Hyper("power η of the ratio of effective ranks", 0.0, 5.0, "1 in 2602.09413")] = 1.0,
    depth_power: Annotated[float, Hyper("power ρ of the depth", 0.0, 5.0, "0.5 in 2602.09413")] = 0.5,
    spread: Annotated[
        float, Hyper("how far a factor may lie from 1; 0 changes nothing", 0.0, 1.0, "0.5 in 2602.09413")
    ] = 0.5,
) -> Iterator[tuple[str, "Tensor"]]:
    """`merge` of the task vectors s_il τ_il, s = 1 + spread · tanh(3 (score − 1)) for layer l of task i (2602.09413).

    score = e^η ((l + 1)/L)^ρ / (1 + softplus(z)), l from 0: e = erank(W0) / erank(τ), and z the standing among the layers,
    in standard deviations, of c = ½ (‖W0τᵀ − τW0ᵀ‖ + ‖W0ᵀτ − τᵀW0‖) / (‖W0‖ ‖τ‖). erank is the exponential of the entropy
    of σ²/Σσ². This is the paper's continuous rule; it prefers tiers of fixed values, which it chooses by hand. A layer is
    all tensors with the same number in their names (a block); its e and c are means over its matrices, which is our
    reading. Tensors outside layers stay as they are.
    """
    scales = [_scales(traits, rank_power, depth_power, spread) for traits in layer_traits(base, finetuned)]

    def rescaled(task: int) -> Rescaled:
        def factor(name: str, tau: "Tensor") -> float:
            place = place_of(name)
            return scales[task].get(place[:2], 1.0) if place else 1.0

        return Rescaled(base, finetuned[task], factor)

    return merge(base, [rescaled(task) for task in range(len(finetuned))])


def _scales(
    traits: dict[Layer, tuple[float, float]], rank_power: float, depth_power: float, spread: float
) -> dict[Layer, float]:
    scales = {}
    for stack in {stack for stack, _ in traits}:
        stack_traits = {layer: values for (of, layer), values in traits.items() if of == stack}
        depth, conflict = depths(list(stack_traits)), standardised({layer: c for layer, (_, c) in stack_traits.items()})
        for layer, (ratio, _) in stack_traits.items():
            score = ratio**rank_power * depth[layer] ** depth_power / (1 + log1p(exp(conflict[layer])))
            scales[stack, layer] = 1 + spread * tanh(3 * (score - 1))
    return scales


def layer_traits(base: Weights, finetuned: Sequence[Weights]) -> list[dict[Layer, tuple[float, float]]]:
    """For each task, (stack, layer) → the means of e and c over the layer's matrices that the task moved."""
    traits: list[dict[Layer, list[tuple[float, float]]]] = [defaultdict(list) for _ in finetuned]
    for name, theta0 in each_tensor(base):
        place = place_of(name)
        if place is not None and is_matrix(name, theta0) and bool(theta0.any()):
            tall = theta0.T if theta0.shape[0] < theta0.shape[1] else theta0
            square = second_moments(tall)
            for task, tau in enumerate(task_vectors(name, theta0, finetuned)):
                if bool(tau.any()):
                    traits[task][place[:2]].append(_traits(tall, square, tau if tall is theta0 else tau.T))
    return [
        {layer: (fmean(e for e, _ in pairs), fmean(c for _, c in pairs)) for layer, pairs in task_traits.items()}
        for task_traits in traits
    ]


def _traits(theta0: "Tensor", square: "Tensor", tau: "Tensor") -> tuple[float, float]:
    """(e, c) of one m × n matrix, m ≥ n; `square` is W0ᵀW0. No m × m matrix is made.

    ‖W0τᵀ − τW0ᵀ‖² = 2 ⟨W0ᵀW0, τᵀτ⟩ − 2 ⟨B, Bᵀ⟩ with B = τᵀW0.
    """
    tau_square = second_moments(tau)
    cross = tau.double().T @ theta0.double()
    inner = (cross - cross.T).norm()
    outer = (2 * ((square * tau_square).sum() - (cross * cross.T).sum())).clamp(min=0).sqrt()
    norms = (square.trace() * tau_square.trace()).sqrt()
    return effective_rank(square) / effective_rank(tau_square), float((inner + outer) / (2 * norms))


def effective_rank(square: "Tensor") -> float:
    """exp of the entropy of σ²/Σσ², from AᵀA of a matrix that is not zero."""
    import torch

    shares = torch.linalg.eigvalsh(square).clamp(min=0)
    return float(torch.special.entr(shares / shares.sum()).sum().exp())

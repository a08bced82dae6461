"""RegMean: merge each linear layer by least squares on its inputs, which come from real data or from anchors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fda.errors import UserError
from fda.merging.method import Hyper, TaskInputs, TaskMoments, Weights, all_weights, merging_method

if TYPE_CHECKING:
    from torch import Tensor

PAPER = "https://arxiv.org/abs/2212.09849"
KEEP = Hyper(
    "factor γ of the moments' off-diagonal entries",
    0.0,
    1.0,
    "0.95 for CLIP in fusion_bench; Jin et al. 2023 mostly 0.9, 0.1 for DeBERTa-large",
)
EXAMPLES = Hyper("inputs per task", 1, None, "256 in fusion_bench; Jin et al. 2023 take 1000 batches of 16")


@merging_method(
    name="regmean",
    title="RegMean",
    idea="Fit each linear layer to the outputs of every task's layer on that task's inputs, by least squares.",
    paper=PAPER,
    year=2023,
    needs="inputs",
)
def regmean(
    base: Weights,
    finetuned: Sequence[Weights],
    inputs: Sequence[TaskInputs],
    *,
    keep: Annotated[float, KEEP] = 0.95,
    examples: Annotated[int, EXAMPLES] = 256,
) -> Iterator[tuple[str, "Tensor"]]:
    """Wᵀ = (Σ Ĝi)⁻¹ Σ Ĝi Wiᵀ with Ĝi = γ Gi + (1 − γ) diag(Gi), Gi the mean of x xᵀ at the layer (Jin et al. 2023).

    Gi comes from task i's finetuned model. Embeddings, norms, biases and convolutions are averaged. Computed on task
    vectors, W = θ0 + …, which is the same by linearity and keeps tensors that no task moved exactly. A singular sum of
    moments raises UserError; some releases silently average there, or add to the diagonal.
    """
    yield from _merged(base, finetuned, inputs, keep, examples)


@merging_method(
    name="regmean:anchors",
    title="RegMean on anchors",
    idea="RegMean with anchors in place of real inputs: the adaptation of linear layers in closed form.",
    paper=PAPER,
    year=2023,
    needs="anchors",
)
def regmean_anchors(
    base: Weights, finetuned: Sequence[Weights], inputs: Sequence[TaskMoments], *, keep: Annotated[float, KEEP] = 0.95
) -> Iterator[tuple[str, "Tensor"]]:
    """RegMean with Gi from task i's anchors, passed through its finetuned blocks. The combination is ours."""
    yield from _merged(base, finetuned, inputs, keep, None)


@dataclass
class Layer:
    """The sums of one linear layer over tasks, in fp64. `moved`: some task vector is not zero."""

    moments: "Tensor"  # Σ Gi, in × in
    pull: "Tensor"  # Σ Ĝi τiᵀ, in × out
    moved: bool = False


def _merged(
    base: Weights, finetuned: Sequence[Weights], inputs: Sequence[TaskMoments], keep: float, examples: int | None
) -> Iterator[tuple[str, "Tensor"]]:
    layers = _summed(base, finetuned, inputs, keep, examples)
    for name, theta0, taus in all_weights(base, finetuned):
        layer = layers.pop(name, None)
        if layer is None:
            yield name, theta0 + sum(taus) / len(taus)
        else:
            yield (
                name,
                theta0 + least_squares(name, layer.moments, layer.pull, keep).T.float() if layer.moved else theta0,
            )


def _summed(
    base: Weights, finetuned: Sequence[Weights], inputs: Sequence[TaskMoments], keep: float, examples: int | None
) -> dict[str, Layer]:
    """Both sums of every merged layer. One task's moments are in memory at a time.

    Layers that the base lacks, such as a pooler, are left out. A task without anchors of a block has not moved it, or not
    to any effect, and adds nothing to that block's sums.
    """
    layers: dict[str, Layer] = {}
    for weights, task in zip(finetuned, inputs, strict=True):
        add_task(layers, base, weights, {**task.moments(examples)}, keep)
    return layers


def add_task(
    layers: dict[str, Layer], base: Weights, weights: Weights, moments: "dict[str, Tensor]", keep: float
) -> None:
    """Add one task's moments, which are used up, to the sums of its layers. Layers that the base lacks are skipped."""
    import torch

    for name in list(moments):
        gram = moments.pop(name).to(torch.float64, copy=True)
        if name not in base:
            continue
        tau = weights[name].double() - base[name].double()
        pull = reduced(gram, keep) @ tau.T
        layer = layers.get(name)
        if layer is None:
            layer = layers[name] = Layer(gram, pull)
        else:
            layer.moments += gram
            layer.pull += pull
        layer.moved = layer.moved or bool(tau.any())


def reduced(gram: "Tensor", keep: float) -> "Tensor":
    """Ĝ = γ G + (1 − γ) diag(G), a new tensor."""
    return keep * gram + (1 - keep) * gram.diagonal().diag()


def least_squares(name: str, moments: "Tensor", pull: "Tensor", keep: float) -> "Tensor":
    """X (in × out) with Ĝ X = `pull`, Ĝ the reduced `moments`. UserError, which names the layer, if Ĝ is singular.

    Scaled to unit diagonal, D⁻½ Ĝ D⁻½ = γ R + (1 − γ) I with R a correlation matrix: no eigenvalue is below 1 − γ, so the
    smallest is checked only without reduction. It counts as zero within the rounding of the moments, which are fp32.
    """
    import torch

    diagonal = moments.diagonal()
    if bool((diagonal <= 0).any()) or not bool(moments.isfinite().all()):
        raise _singular(name)
    scale = diagonal.rsqrt()
    correlation = scale[:, None] * reduced(moments, keep) * scale
    noise = len(moments) * torch.finfo(torch.float32).eps
    if 1 - keep <= noise and float(torch.linalg.eigvalsh(correlation)[0]) <= noise:
        raise _singular(name)
    return scale[:, None] * torch.cholesky_solve(scale[:, None] * pull, torch.linalg.cholesky(correlation))


def _singular(name: str) -> UserError:
    return UserError(
        f"RegMean: the moments of the inputs of {name} are singular (inputs that are always zero or depend on each other, or "
        "too few of them): lower `keep` with --set, take more examples, or leave RegMean out of --methods."
    )

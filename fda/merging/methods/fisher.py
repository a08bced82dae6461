"""Fisher merging: an average of the finetuned weights, each entry weighted by its Fisher information."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from fda.merging.method import Hyper, TaskInputs, Weights, all_weights, merging_method

if TYPE_CHECKING:
    from torch import Generator, Tensor

LIKELIEST = 16  # labels of an example whose gradients enter exactly; one draw stands for all others


@merging_method(
    name="fisher",
    title="Fisher merging",
    idea="Average the finetuned weights, each entry weighted by how much the task's answers depend on it.",
    paper="https://arxiv.org/abs/2111.09832",
    year=2022,
    needs="inputs",
)
def fisher(
    base: Weights,
    finetuned: Sequence[Weights],
    inputs: Sequence[TaskInputs],
    *,
    examples: Annotated[int, Hyper("inputs per task", 1, None, "256 in fusion_bench")] = 256,
    eps: Annotated[
        float,
        Hyper(
            "constant added to every normalised Fisher entry",
            1e-12,
            1.0,
            "1e-6 in fusion_bench; the authors' floor is 1e-6",
        ),
    ] = 1e-6,
    seed: Annotated[
        int, Hyper("seed of the drawn labels", 0, None, "ours; labels are drawn only beyond 16 classes")
    ] = 0,
) -> Iterator[tuple[str, "Tensor"]]:
    """θ = θ0 + Σ ci τi / Σ ci with ci = Fi / ‖Fi‖ + ε, Fi the diagonal of task i's Fisher information at θi.

    Fi = mean over examples of E_y (∇ log p(y|x))², with y drawn from the model's prediction, as Matena & Raffel 2022
    define it, example by example. (fusion_bench, after MergeLM, squares the gradient of a sum over a batch and its
    classes, which depends on the batch size.) For up to 16 classes the expectation is the exact sum, as in the authors'
    code. Beyond, it is the sum over the 16 likeliest labels and one label drawn from the others, weighted by their joint
    probability: unbiased, with at most 17 backward passes an example. The norm is over the whole model, as in both codes.
    ε is added after normalising, so that an entry without Fisher information is the plain mean.
    """
    numerators: dict[str, Tensor] = {}
    denominators: dict[str, Tensor] = {}
    for task, (weights, samples) in enumerate(zip(finetuned, inputs, strict=True)):
        diagonal = fisher_diagonal(weights, samples, examples, seed + task)
        norm = sum(float(entry.double().square().sum()) for entry in diagonal.values()) ** 0.5
        for name in list(diagonal):
            weight = diagonal.pop(name).cpu() / (norm or 1.0) + eps
            pull = weight * (weights[name].float() - base[name].float())
            numerators[name] = numerators[name] + pull if task else pull
            denominators[name] = denominators[name] + weight if task else weight
    for name, theta0, _ in all_weights(base, ()):
        yield name, theta0 + numerators.pop(name) / denominators.pop(name)


def fisher_diagonal(weights: Weights, inputs: TaskInputs, examples: int, seed: int) -> dict[str, "Tensor"]:
    """Name → Fisher diagonal, fp32, on the inputs' device; zero for a tensor on which the logits do not depend."""
    import torch

    random = torch.Generator().manual_seed(seed)
    leaves = {
        name: tensor.to(inputs.device, torch.float32, copy=True).requires_grad_()
        for name, tensor in ((name, weights[name]) for name in weights)
        if tensor.is_floating_point()
    }
    diagonal = {name: torch.zeros_like(leaf, requires_grad=False) for name, leaf in leaves.items()}
    count = 0
    for example in inputs.batches(1, examples=examples):
        log_p = inputs.logits(leaves, example).log_softmax(dim=-1)[0]
        labels = weighted_labels(log_p.detach().exp().cpu(), LIKELIEST, random)
        for index, (label, weight) in enumerate(labels):
            more = index + 1 < len(labels)
            gradients = torch.autograd.grad(log_p[label], list(leaves.values()), retain_graph=more, allow_unused=True)
            for total, gradient in zip(diagonal.values(), gradients, strict=True):
                if gradient is not None:
                    total.addcmul_(gradient, gradient, value=weight)
        count += 1
    return {name: total.div_(count) for name, total in diagonal.items()}


def weighted_labels(probabilities: "Tensor", exact: int, random: "Generator") -> list[tuple[int, float]]:
    """(label, weight) pairs for which Σ weight · f(label) is, in expectation over the draw, Σ_y p_y f(y).

    These are the `exact` likeliest labels with their probabilities, and one other label with the probability of all others.
    """
    top = probabilities.topk(min(exact, len(probabilities)))
    labels = list(zip(top.indices.tolist(), top.values.tolist(), strict=True))
    rest = probabilities.index_fill(0, top.indices, 0.0)
    if bool(rest.any()):
        labels.append((int(rest.multinomial(1, generator=random)), float(rest.sum())))
    return labels

"""AdaMerging: task arithmetic whose coefficients are learnt on unlabelled test inputs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fda.merging.method import Hyper, TaskInputs, Weights, all_weights, merging_method

if TYPE_CHECKING:
    from torch import Tensor

PAPER = "https://arxiv.org/abs/2310.02575"
SCALE = Hyper("initial value of the coefficients λ", 0.0, 2.0, "0.3 in Yang et al. 2024")
LR = Hyper("Adam's learning rate", 0.0, 1.0, "1e-3 in Yang et al. 2024")
STEPS = Hyper("Adam's steps", 0, None, "1000 in fusion_bench; 500 in the authors' code")
BATCH = Hyper("inputs per task and step", 1, None, "16 in Yang et al. 2024; their loop adds a second batch")
SEED = Hyper("seed of the order of the inputs", 0, None, "ours")


@merging_method(
    name="adamerging",
    title="AdaMerging, task-wise",
    idea="Learn one coefficient per task that makes the merged model confident on the unlabelled test inputs.",
    paper=PAPER,
    year=2024,
    needs="inputs",
    split="test",
)
def adamerging(
    base: Weights,
    finetuned: Sequence[Weights],
    inputs: Sequence[TaskInputs],
    *,
    scale: Annotated[float, SCALE] = 0.3,
    lr: Annotated[float, LR] = 1e-3,
    steps: Annotated[int, STEPS] = 1000,
    batch: Annotated[int, BATCH] = 16,
    seed: Annotated[int, SEED] = 0,
) -> Iterator[tuple[str, "Tensor"]]:
    """θ = θ0 + Σ λi τi, λ by Adam on Σ_tasks the mean entropy of softmax(logits) (Yang et al. 2024).

    The inputs come from the test split, as in the paper: shuffled, `batch` per task and step. λ is unbounded, as in
    fusion_bench; the authors' code clamps it to 0 … 1.
    """
    yield from _learnt(base, finetuned, inputs, False, scale, lr, steps, batch, seed)


@merging_method(
    name="adamerging_layer",
    title="AdaMerging, layer-wise",
    idea="AdaMerging with one coefficient per task and tensor, on the unlabelled test inputs.",
    paper=PAPER,
    year=2024,
    needs="inputs",
    split="test",
)
def adamerging_layer(
    base: Weights,
    finetuned: Sequence[Weights],
    inputs: Sequence[TaskInputs],
    *,
    scale: Annotated[float, SCALE] = 0.3,
    lr: Annotated[float, LR] = 1e-3,
    steps: Annotated[int, STEPS] = 1000,
    batch: Annotated[int, BATCH] = 16,
    seed: Annotated[int, SEED] = 0,
) -> Iterator[tuple[str, "Tensor"]]:
    """θˡ = θ0ˡ + Σ λiˡ τiˡ, λ as in task-wise AdaMerging; a layer is a floating-point tensor (Yang et al. 2024)."""
    yield from _learnt(base, finetuned, inputs, True, scale, lr, steps, batch, seed)


def _learnt(
    base: Weights,
    finetuned: Sequence[Weights],
    inputs: Sequence[TaskInputs],
    layerwise: bool,
    scale: float,
    lr: float,
    steps: int,
    batch: int,
    seed: int,
) -> Iterator[tuple[str, "Tensor"]]:
    import torch

    span = Span.of(base, finetuned, inputs[0].device)
    coefficients = torch.full((len(span.taus) if layerwise else 1, len(finetuned)), scale, device=inputs[0].device)
    optimizer = torch.optim.Adam([coefficients], lr=lr)
    streams = [source.batches(batch, seed=seed + task) for task, source in enumerate(inputs)]
    for _ in range(steps):
        gradient = entropy_gradient(span, coefficients, inputs, [next(stream) for stream in streams])
        coefficients.grad = gradient if layerwise else gradient.sum(dim=0, keepdim=True)
        optimizer.step()
    for name, theta in span.at(coefficients).items():
        yield name, theta.cpu()


@dataclass(frozen=True)
class Span:
    """The merged models θ0 + Σ λi τi for all λ, on one device. Holds the base and every task vector in memory."""

    base: "dict[str, Tensor]"  # every floating-point tensor
    taus: "dict[str, Tensor]"  # (T, entries), for the tensors that some task moved

    @classmethod
    def of(cls, base: Weights, finetuned: Sequence[Weights], device: str) -> "Span":
        import torch

        floats, moved = {}, {}
        for name, theta0, taus in all_weights(base, finetuned):
            floats[name] = theta0.to(device)
            if any(bool(tau.any()) for tau in taus):
                moved[name] = torch.stack([tau.flatten() for tau in taus]).to(device)
        return cls(floats, moved)

    def at(self, coefficients: "Tensor") -> "dict[str, Tensor]":
        """θ, in the base's order, for λ of shape (moved tensors, T), or (1, T) for all tensors alike."""
        rows = coefficients.expand(len(self.taus), -1)
        moved = {
            name: self.base[name] + (row @ taus).view_as(self.base[name])
            for row, (name, taus) in zip(rows, self.taus.items(), strict=True)
        }
        return self.base | moved


def entropy(logits: "Tensor") -> "Tensor":
    """Mean over the batch of the entropy of softmax(logits), in nats; logits (batch, classes)."""
    log_p = logits.log_softmax(dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1).mean()


def entropy_gradient(
    span: Span, coefficients: "Tensor", inputs: Sequence[TaskInputs], batches: "Sequence[Tensor]"
) -> "Tensor":
    """d/dλ of the tasks' summed entropies, with separate coefficients for each tensor: (moved tensors, T).

    θ is merged once and its tensors are leaves, so each task's graph is freed before the next begins. Then
    dL/dλiˡ = ⟨dL/dθˡ, τiˡ⟩.
    """
    import torch

    theta = span.at(coefficients)
    leaves = [theta[name].requires_grad_() for name in span.taus]
    for source, batch in zip(inputs, batches, strict=True):
        loss = entropy(source.logits(theta, batch))
        if loss.requires_grad:  # else this task's logits depend on no moved tensor
            loss.backward()
    rows = [
        taus @ leaf.grad.flatten() if leaf.grad is not None else coefficients.new_zeros(taus.shape[0])
        for taus, leaf in zip(span.taus.values(), leaves, strict=True)
    ]
    return torch.stack(rows) if rows else coefficients.new_zeros(0, coefficients.shape[1])

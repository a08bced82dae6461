"""AdaMerging: task arithmetic whose coefficients are learnt on unlabelled test inputs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fda.merging.method import Hyper, TaskInputs, Weights, all_weights, merging_method

if TYPE_CHECKING:
    from torch import Tensor

PAPER = "https://arxiv.org/abs/2310.02575"
SCALE = Hyper("where the coefficients λ start", 0.0, 2.0, "0.3 in Yang et al. 2024")
LR = Hyper("Adam's learning rate", 0.0, 1.0, "1e-3 in Yang et al. 2024")
STEPS = Hyper("Adam's steps", 0, None, "1000 in fusion_bench; 500 in the authors' code")
BATCH = Hyper("inputs a task and step", 1, None, "16 in Yang et al. 2024; their loop adds a second batch")
SEED = Hyper("seed of the order of the inputs", 0, None, "ours")


@merging_method(
    name="adamerging",
    title="AdaMerging, task-wise",
    idea="Learn a coefficient a task that makes the merged model sure of its answers on the test inputs, unlabelled.",
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

    The inputs are those of the test split, as in the paper: shuffled, `batch` a task and step. λ is free, as in
    fusion_bench; the authors' code clamps it to 0 … 1.
    """
    yield from _learnt(base, finetuned, inputs, False, scale, lr, steps, batch, seed)


@merging_method(
    name="adamerging_layer",
    title="AdaMerging, layer-wise",
    idea="Task-wise AdaMerging with a coefficient a task and tensor: test inputs, unlabelled.",
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

    plane = Plane.of(base, finetuned, inputs[0].device)
    coefficients = torch.full((len(plane.taus) if layerwise else 1, len(finetuned)), scale, device=inputs[0].device)
    optimizer = torch.optim.Adam([coefficients], lr=lr)
    streams = [one.batches(batch, seed=seed + task) for task, one in enumerate(inputs)]
    for _ in range(steps):
        gradient = entropy_gradient(plane, coefficients, inputs, [next(stream) for stream in streams])
        coefficients.grad = gradient if layerwise else gradient.sum(dim=0, keepdim=True)
        optimizer.step()
    for name, theta in plane.at(coefficients).items():
        yield name, theta.cpu()


@dataclass(frozen=True)
class Plane:
    """All that θ0 + Σ λi τi can be, on one device. In memory: the base and every task vector."""

    base: "dict[str, Tensor]"  # every floating-point tensor
    taus: "dict[str, Tensor]"  # (T, entries), of the tensors that some task moved

    @classmethod
    def of(cls, base: Weights, finetuned: Sequence[Weights], device: str) -> "Plane":
        import torch

        kept, moved = {}, {}
        for name, theta0, taus in all_weights(base, finetuned):
            kept[name] = theta0.to(device)
            if any(bool(tau.any()) for tau in taus):
                moved[name] = torch.stack([tau.flatten() for tau in taus]).to(device)
        return cls(kept, moved)

    def at(self, coefficients: "Tensor") -> "dict[str, Tensor]":
        """θ for λ of shape (moved tensors, T), or (1, T): the same for all tensors. In the base's order."""
        rows = coefficients.expand(len(self.taus), -1)
        moved = {
            name: self.base[name] + (row @ taus).view_as(self.base[name])
            for row, (name, taus) in zip(rows, self.taus.items(), strict=True)
        }
        return self.base | moved


def entropy(logits: "Tensor") -> "Tensor":
    """Of softmax(logits) (batch, classes), in nats, the mean over the batch."""
    log_p = logits.log_softmax(dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1).mean()


def entropy_gradient(
    plane: Plane, coefficients: "Tensor", inputs: Sequence[TaskInputs], batches: "Sequence[Tensor]"
) -> "Tensor":
    """d/dλ of the tasks' summed entropies, (moved tensors, T), as if each tensor had coefficients of its own.

    θ is merged once, as leaves; each task's graph is gone before the next begins; then dL/dλiˡ = ⟨dL/dθˡ, τiˡ⟩.
    """
    import torch

    theta = plane.at(coefficients)
    leaves = [theta[name].requires_grad_() for name in plane.taus]
    for one, batch in zip(inputs, batches, strict=True):
        loss = entropy(one.logits(theta, batch))
        if loss.requires_grad:  # else no moved tensor has a say in this task's answers
            loss.backward()
    rows = [
        taus @ leaf.grad.flatten() if leaf.grad is not None else coefficients.new_zeros(taus.shape[0])
        for taus, leaf in zip(plane.taus.values(), leaves, strict=True)
    ]
    return torch.stack(rows) if rows else coefficients.new_zeros(0, coefficients.shape[1])

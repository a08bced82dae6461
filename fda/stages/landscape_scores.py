"""Loss and accuracy of given weights on samples of every task.

The loss is the cross-entropy with each task's head (squared error for regression; for language models the mean over next
tokens). Accuracy is each task's metric. Tensors outside the blocks stay pretrained.
"""

import threading
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fda.architectures.model import Model
from fda.architectures.transforms import Batch, TextBatch
from fda.architectures.within_memory import WithinMemory
from fda.cancel import Cancel
from fda.errors import UserError
from fda.stages.work import Work
from fda.tasks.data import load_split
from fda.tasks.evaluate import next_tokens
from fda.tasks.heads import TaskHead, task_head
from fda.tasks.metrics import METRICS, metric_name

BATCH = 256


@dataclass(frozen=True)
class Samples:
    """n prepared samples of one task on the device, in batches, with labels (n,), the task's head and its metric."""

    task: str
    batches: tuple[Batch, ...]
    labels: Tensor
    head: TaskHead
    metric: str


def load_samples(work: Work) -> list[Samples]:
    """The samples of every task, spread over the chosen split. UserError as `load_split` and `task_head`."""
    settings, samples = work.landscape, []
    for name in work.spec.tasks:
        task = work.spec.zoo.task(name)
        split = load_split(task, split_of(work, name), work.opened.model.transform)
        indices, head = split.spread(settings.samples), task_head(work.opened, name).to(work.device)
        metric = metric_name(work.data(name), causal=head.causal)
        metric = "token_accuracy" if head.causal else metric  # generating answers at every point takes too long
        batches = [split.at(indices[at : at + BATCH]).to(work.device) for at in range(0, len(indices), BATCH)]
        samples.append(Samples(name, tuple(batches), split.labels()[indices].to(work.device), head, metric))
        work.cancel.check()
    return samples


def split_kind(work: Work) -> str:
    """`validation` or `test`, the same for all tasks; `auto` means validation if every task has such a split."""
    requested = work.landscape.split
    if requested != "auto":
        return requested
    all_have = all(work.data(name).validation_split for name in work.spec.tasks)
    return "validation" if all_have else "test"


def split_of(work: Work, task: str) -> str:
    data = work.data(task)
    split = data.validation_split if split_kind(work) == "validation" else data.split
    if split is None:
        raise UserError(f"task {task!r} has no validation split: name one in the zoo file, or choose --split test.")
    return split


class Scorer:
    """Scores weights; each thread loads them into a module of its own."""

    def __init__(self, work: Work, samples: list[Samples]) -> None:
        self.work, self.samples = work, samples
        self.memory = WithinMemory(BATCH)
        self.names = [block.prefix + name for block in work.blocks for name in block.names]
        self._thread = threading.local()

    @torch.no_grad()
    def score(self, weights: Callable[[str], Tensor], cancel: Cancel) -> dict[str, float]:
        """`weights(name)` for every tensor inside the blocks → loss, accuracy (means over tasks), loss/TASK, accuracy/TASK.

        `cancel` is checked after each batch.
        """
        model = self._model()
        tensors = model.module.state_dict()
        for name in self.names:
            tensors[name].copy_(weights(name))
        losses, scores = [], []
        for of_task, head in zip(self.samples, self._thread.heads, strict=True):
            parts = []
            for batch in of_task.batches:
                parts += self._answers(model, head, batch)
                cancel.check()
            loss, score = _loss_and_score(of_task, [torch.cat(part) for part in zip(*parts, strict=True)])
            losses.append(loss)
            scores.append(score)
        result = {}
        for metric, values in (("loss", losses), ("accuracy", scores)):
            numbers = torch.stack(values).double().tolist()  # one transfer from the device
            result[metric] = sum(numbers) / len(numbers)
            result |= {f"{metric}/{of_task.task}": value for of_task, value in zip(self.samples, numbers, strict=True)}
        return result

    def _answers(self, model: Model, head: TaskHead, batch: Batch) -> Iterator[tuple[Tensor, ...]]:
        """Logits, or what `next_tokens` returns. torch.OutOfMemoryError if the device has no memory for one sample."""

        def answered(part: Batch) -> tuple[Tensor, ...]:
            logits = head.answer(model, part)
            return next_tokens(logits, part) if isinstance(part, TextBatch) and head.causal else (logits,)

        return self.memory.parts(batch, answered)

    def _model(self) -> Model:
        """This thread's copy of the model, with pretrained weights."""
        if not hasattr(self._thread, "model"):
            shared = self.work.opened.model
            # every subclass of Model is a dataclass
            model = replace(shared, module=deepcopy(shared.module))  # pyright: ignore[reportArgumentType]
            model.load(self.work.opened.base)
            model.to(self.work.device)
            self._thread.model = model
            self._thread.heads = [of_task.head.to(self.work.device) for of_task in self.samples]
        return self._thread.model


def _loss_and_score(samples: Samples, given: list[Tensor]) -> tuple[Tensor, Tensor]:
    """(loss, score), scalars on the device. `given`: logits (n, classes), or for language models what `next_tokens` returns."""
    if samples.head.causal:
        right, tokens, loss = given
        return loss.sum() / tokens.sum(), right.sum() / tokens.sum()
    (logits,) = given
    if samples.metric == "pearson":
        loss = torch.nn.functional.mse_loss(logits[:, 0], samples.labels.float())
        score = METRICS["pearson"].of(logits[:, 0].cpu().numpy(), samples.labels.cpu().numpy())
        return loss, torch.tensor(score).to(loss)
    loss, predicted = torch.nn.functional.cross_entropy(logits, samples.labels), logits.argmax(dim=-1)
    finite = logits.isfinite().all()  # a point too far out has no accuracy
    if samples.metric == "accuracy":
        return loss, torch.where(finite, (predicted == samples.labels).float().mean(), torch.nan)
    if not finite:
        return loss, torch.full_like(loss, torch.nan)
    score = METRICS[samples.metric].of(predicted.cpu().numpy(), samples.labels.cpu().numpy())
    return loss, torch.tensor(score).to(loss)

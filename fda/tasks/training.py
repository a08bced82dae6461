"""Finetune a model's loaded weights on one task, in front of its head.

Trains the parameters that the caller names, in place. `fda.stages.finetune` decides which, and saves them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor
from torch.nn import functional

from fda.architectures.model import Model
from fda.cancel import NEVER, Cancel
from fda.settings import FinetuneSettings
from fda.tasks.data import Split
from fda.tasks.evaluate import evaluate
from fda.tasks.heads import TaskHead
from fda.tasks.metrics import METRICS
from fda.zoos.zoo import TaskData


@dataclass(frozen=True)
class Epoch:
    """One pass over the training split: its number, the mean loss, the score on the validation split, and its seconds.

    Epoch 0 is the base before any step, without a loss. `score` is None without a validation split.
    """

    number: int
    loss: float | None
    score: float | None
    seconds: float


def epoch_text(epoch: Epoch) -> str:
    """An epoch as a line of progress."""
    score = "" if epoch.score is None else f", validation {100 * epoch.score:.1f}"
    if epoch.loss is None:
        return f"before training{score}"
    return f"epoch {epoch.number}, loss {epoch.loss:.3f}{score}"


def train(
    model: Model,
    head: TaskHead,
    learning: Sequence[Tensor],
    split: Split,
    validation: Split | None,
    data: TaskData,
    settings: FinetuneSettings,
    device: str = "cpu",
    cancel: Cancel = NEVER,
) -> Iterator[Epoch]:
    """Train `learning`, parameters of the model's module and of its head on the device; yields each epoch when it ends.

    The loss is cross-entropy. The module is in eval mode at every yield. Meanwhile the global random numbers of torch, for
    dropout, are seeded by `settings.seed`; afterwards they are as before.
    """
    labels, began = split.labels().to(device), perf_counter()
    for parameter in learning:
        parameter.requires_grad_(True)
    steps = settings.epochs * -(-len(split) // settings.batch)
    optimizer = torch.optim.AdamW(learning, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: share_of_rate(step, steps, settings.warmup))
    yield Epoch(0, None, _score(model, head, validation, data, device, cancel), perf_counter() - began)
    generator = torch.Generator().manual_seed(settings.seed)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        for number in range(1, settings.epochs + 1):
            began, losses = perf_counter(), []
            model.module.train()
            for rows in torch.randperm(len(split), generator=generator).split(settings.batch):
                logits = head.answer(model, split.at(rows.tolist()).to(device))
                loss = functional.cross_entropy(logits, labels[rows.to(device)])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(loss.detach() * len(rows))
                cancel.check()
            model.module.eval()
            score = _score(model, head, validation, data, device, cancel)
            yield Epoch(number, torch.stack(losses).sum().item() / len(split), score, perf_counter() - began)
    for parameter in learning:
        parameter.requires_grad_(False)


def share_of_rate(step: int, steps: int, warmup: float) -> float:
    """The share of the learning rate in a step, counted from 0: a line up to 1 in the warm-up, then half a cosine to 0."""
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising))) / 2


def _score(
    model: Model, head: TaskHead, split: Split | None, data: TaskData, device: str, cancel: Cancel
) -> float | None:
    if split is None:
        return None
    answers = evaluate(model, head, split, device, cancel, data)
    return METRICS[answers.metric].of(answers.predicted, answers.label)

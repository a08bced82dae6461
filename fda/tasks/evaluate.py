"""A model's answers on a task: its classes, numbers, next tokens or generated texts, beside the labels.

`fda.tasks.metrics` turns answers into scores; `fda.stages.evaluations` stores them.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fda.architectures.model import Model
from fda.architectures.transforms import Batch, TextBatch, TextTransform
from fda.architectures.within_memory import WithinMemory
from fda.cancel import NEVER, Cancel
from fda.errors import UserError
from fda.tasks.answers import TOP, Answers, Top
from fda.tasks.data import Split
from fda.tasks.heads import TaskHead
from fda.tasks.metrics import metric_name
from fda.zoos.zoo import TaskData

IMAGES = 256  # per batch
TEXTS = 32  # per batch
WRITTEN = ("exact_match", "final_answer")  # the metrics of generated texts
MORE_TOKENS = 8  # for an exact match, a generated answer may be this much longer than the longest right one
NEW_TOKENS = 256  # for a final answer
NO_NUMBERS = "look for the tensor with `python -m fda zoo check`, or lower the method's coefficients with --set"


class NoNumbers(UserError):
    """`samples` of `asked` samples have a logit that is NaN or infinite, so there is no score."""

    def __init__(self, samples: int, asked: int) -> None:
        self.samples, self.asked = samples, asked
        super().__init__(f"{samples:,} of {asked:,} samples have a logit that is NaN or infinite: {NO_NUMBERS}.")


@torch.no_grad()
def evaluate(
    model: Model,
    head: TaskHead,
    split: Split,
    device: str = "cpu",
    cancel: Cancel = NEVER,
    data: TaskData | None = None,
    indices: Sequence[int] | None = None,
    *,
    whole: bool = False,
) -> Answers:
    """The answers of the weights loaded in `model`, which is on `device`; `cancel` is checked after each batch.

    `data`: the task's data in the zoo file, which give the metric; None: accuracy, or next tokens for a language head.
    `indices`: samples of the split, whose answers come in this order; None: all, in the split's. Batches become smaller where
    the device has no memory for them, unless all must stay one `whole`. UserError if head, labels and metric do not fit;
    NoNumbers, after all samples, if some have a logit that is not finite.
    """
    if indices is None:
        order = split.by_length()
        return in_order(evaluate(model, head, split, device, cancel, data, order), order)
    head = head.to(device)
    metric = scored_by(head, data)
    if metric in WRITTEN:
        tokens = data.new_tokens if data else None
        return _written(metric, model, head, split, device, cancel, tokens or NEW_TOKENS, indices)
    if metric == "token_accuracy":
        split = replace(split, label=None)  # the texts are their own labels

    def answered(part: Sequence[int]) -> tuple[Tensor, ...]:
        batch, labels = split.at(part).to(device), split.labels()[list(part)]
        logits = head.answer(model, batch)
        return all_finite(logits, batch), *_answers(metric, logits, batch, labels, split)

    batches: list[tuple[Tensor, ...]] = []
    most = TEXTS if split.transform.kind == "text" else IMAGES
    for answers in [answered(indices)] if whole else WithinMemory(most).parts(indices, answered):
        batches.append(answers)
        cancel.check()
    # Fetched at the end, so that no batch waits for the answers to the one before.
    finite, predicted, label, *more = (torch.cat(parts).cpu().numpy() for parts in zip(*batches, strict=True))
    if not finite.all():
        raise NoNumbers(int((~finite).sum()), len(label))
    kind = np.float32 if metric == "pearson" else np.int32
    answers = Answers(predicted.astype(kind), label.astype(kind), metric)
    if metric == "token_accuracy":
        return replace(answers, loss=more[0])
    return replace(answers, top=Top(more[0].astype(np.int32), more[1])) if answers.of_classes else answers


def in_order(answers: Answers, order: Sequence[int]) -> Answers:
    """Answers to the samples `order`, a permutation of all, in the order of the samples."""
    back = np.argsort(np.asarray(order))
    top, loss = answers.top, answers.loss
    return replace(
        answers,
        predicted=answers.predicted[back],
        label=answers.label[back],
        loss=None if loss is None else loss[back],
        top=None if top is None else Top(top.classes[back], top.probabilities[back]),
    )


def scored_by(head: TaskHead, data: TaskData | None) -> str:
    """The name of the metric for a head and its data. UserError if they do not fit."""
    if data is None:
        return "token_accuracy" if head.causal else "accuracy"
    metric = metric_name(data, causal=head.causal)
    if head.causal != (metric in ("token_accuracy", *WRITTEN)):
        kind = "next tokens" if head.causal else "classes or numbers"
        raise UserError(
            f"the head gives {kind}, which cannot be scored by {metric}: correct `data.metric` in the zoo file."
        )
    return metric


def require_labels(metric: str, split: Split, labels: Tensor, width: int) -> None:
    """UserError if a head with `width` logits cannot be scored against these labels."""
    if split.label is None:
        raise UserError(f"{split.where} have no column of labels: name it in `data.label`.")
    if metric == "pearson":
        if width != 1:
            raise UserError(f"Pearson's correlation needs a head of one number, but this one has {width}.")
        return
    if labels.is_floating_point():
        wrong = labels[(labels < 0) | (labels != labels.round())][0].item()
        raise UserError(
            f"{split.where}: the column {split.label!r} holds {wrong:g}, which is no class: name a column of classes, or say "
            "`metric: pearson`."
        )
    if labels.max() >= width:
        raise UserError(
            f"{split.where}: the column {split.label!r} has a class {int(labels.max())}, but the head only {width} classes "
            "(counted from 0): give the head that belongs to these data."
        )


def _answers(metric: str, logits: Tensor, batch: Batch, labels: Tensor, split: Split) -> tuple[Tensor, ...]:
    """(predicted, label), each (b,); then for next tokens the loss (b,), for classes `likeliest`."""
    if metric == "token_accuracy":
        assert isinstance(batch, TextBatch), "only a causal head is scored so, and its model reads texts"
        return next_tokens(logits, batch)
    require_labels(metric, split, labels, logits.shape[1])
    if metric == "pearson":
        return logits[:, 0], labels.float()
    return logits.argmax(dim=-1), labels, *likeliest(logits)


def likeliest(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(b, classes) → the TOP classes of highest logit and their probabilities (softmax, float32), each (b, k).

    Of equal logits the lower class comes first, as in `argmax`.
    """
    classes = logits.sort(dim=-1, descending=True, stable=True).indices[:, :TOP].contiguous()  # the others are freed
    return classes, logits.float().softmax(dim=-1).gather(1, classes)


def all_finite(logits: Tensor, batch: Batch) -> Tensor:
    """Bool (b,): whether all logits of a sample are finite; for next tokens, outside its padding."""
    finite = logits.isfinite().all(dim=-1)
    if isinstance(batch, TextBatch) and finite.ndim == 2:
        return (finite | ~batch.mask).all(dim=1)
    return finite


def next_tokens(logits: Tensor, batch: TextBatch) -> tuple[Tensor, Tensor, Tensor]:
    """For each text the next tokens predicted right, their number, and their summed negative log-likelihood, each (b,)."""
    targets, mask = batch.ids[:, 1:], batch.mask[:, 1:]
    logits = logits[:, :-1].float()
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    right = (logits.argmax(dim=-1) == targets) & mask
    return right.sum(dim=1), mask.sum(dim=1), losses.masked_fill(~mask, 0.0).sum(dim=1)


def _written(
    metric: str,
    model: Model,
    head: TaskHead,
    split: Split,
    device: str,
    cancel: Cancel,
    tokens: int,
    indices: Sequence[int],
) -> Answers:
    """1 for each prompt whose generated answer is the right one, else 0.

    `exact_match`: the first line of the text, to the letter. `final_answer`: the last number in at most `tokens` tokens.
    """
    from fda.tasks.generation import final_answer, generated
    from fda.tasks.own_heads import OwnHead

    if split.label is None:
        raise UserError(f"{metric} needs the column of the right answers: name it in `data.label`.")
    assert isinstance(head, OwnHead), "only the head of a checkpoint predicts next tokens"
    transform = _text_transform(split)
    expected = split.texts(split.label, indices)
    if metric == "exact_match":
        encode = transform.tokenizer
        tokens = max(len(encode(text, add_special_tokens=False)["input_ids"]) for text in expected) + MORE_TOKENS
        expected = [text.strip() for text in expected]
    else:
        answers = [final_answer(text) for text in expected]
        if None in answers:
            raise UserError(
                f"{split.where}: the column {split.label!r} has an answer without a number, {expected[answers.index(None)]!r}: "
                "name a column of answers that end in a number, or another `metric`."
            )
        expected = answers
    right: list[int] = []
    for start in range(0, len(indices), TEXTS):
        batch = indices[start : start + TEXTS]
        prompts = split.at(batch)
        assert isinstance(prompts, TextBatch), "a text transform collates texts"
        texts = generated(
            model, head, prompts, transform, tokens, one_line=metric == "exact_match", device=device, cancel=cancel
        )
        given = texts if metric == "exact_match" else [final_answer(text) for text in texts]
        right += [int(one == other) for one, other in zip(given, expected[start : start + TEXTS], strict=True)]
    return Answers(np.array(right, np.int32), np.ones(len(right), np.int32), metric)


def _text_transform(split: Split) -> TextTransform:
    assert isinstance(split.transform, TextTransform), "only a causal head generates, and its model reads texts"
    return split.transform

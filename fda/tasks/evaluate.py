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
from fda.cancel import NEVER, Cancel
from fda.errors import UserError
from fda.tasks.answers import TOP, Answers, Top
from fda.tasks.data import Split
from fda.tasks.heads import TaskHead
from fda.tasks.metrics import metric_name
from fda.zoos.zoo import TaskData

IMAGES = 256  # per batch
TEXTS = 32  # per batch
MORE_TOKENS = 8  # a generated answer may be this much longer than the longest right one
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
) -> Answers:
    """The answers of the weights loaded in `model`, which is on `device`; `cancel` is checked after each batch.

    `data`: the task's data in the zoo file, which give the metric; None: accuracy, or next tokens for a language head.
    `indices`: samples of the split, whose answers come in this order; None: all, in the split's. UserError if head, labels and
    metric do not fit; NoNumbers, after all samples, if some have a logit that is not finite.
    """
    if indices is None:
        order = split.by_length()
        return in_order(evaluate(model, head, split, device, cancel, data, order), order)
    head = head.to(device)
    metric = scored_by(head, data)
    if metric == "exact_match":
        return _exact_match(model, head, split, device, cancel, indices)
    if metric == "token_accuracy":
        split = replace(split, label=None)  # the texts are their own labels
    batches: list[tuple[Tensor, ...]] = []
    wrong = 0
    for batch, labels in split.batches(TEXTS if split.transform.kind == "text" else IMAGES, indices):
        logits = head.answer(model, batch.to(device))
        wrong += int((~all_finite(logits, batch)).sum())
        batches.append(tuple(part.cpu() for part in _answers(metric, logits, batch.to(device), labels, split)))
        cancel.check()
    predicted, label, *more = (torch.cat(parts).numpy() for parts in zip(*batches, strict=True))
    if wrong:
        raise NoNumbers(wrong, len(label))
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
    if head.causal != (metric in ("token_accuracy", "exact_match")):
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
    classes = logits.sort(dim=-1, descending=True, stable=True).indices[:, :TOP]
    return classes, logits.float().softmax(dim=-1).gather(1, classes)


def all_finite(logits: Tensor, batch: Batch) -> Tensor:
    """Bool (b,): whether all logits of a sample are finite; for next tokens, outside its padding."""
    finite = logits.isfinite().all(dim=-1)
    if isinstance(batch, TextBatch) and finite.ndim == 2:
        return (finite | ~batch.mask.to(finite.device)).all(dim=1)
    return finite


def next_tokens(logits: Tensor, batch: TextBatch) -> tuple[Tensor, Tensor, Tensor]:
    """For each text the next tokens predicted right, their number, and their summed negative log-likelihood, each (b,)."""
    targets, mask = batch.ids[:, 1:], batch.mask[:, 1:]
    logits = logits[:, :-1].float()
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    right = (logits.argmax(dim=-1) == targets) & mask
    return right.sum(dim=1), mask.sum(dim=1), losses.masked_fill(~mask, 0.0).sum(dim=1)


def _exact_match(
    model: Model, head: TaskHead, split: Split, device: str, cancel: Cancel, indices: Sequence[int]
) -> Answers:
    """1 for each prompt whose answer, generated greedily up to the end of the text or line, equals the right one, else 0."""
    if split.label is None:
        raise UserError("exact match needs the column of the right answers: name it in `data.label`.")
    expected = {index: text.strip() for index, text in zip(indices, split.texts(split.label, indices), strict=True)}
    tokenizer = _text_transform(split).tokenizer
    room = max(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in expected.values()) + MORE_TOKENS
    right: list[int] = []
    for start in range(0, len(indices), TEXTS):
        batch = indices[start : start + TEXTS]
        prompts = split.at(batch)
        assert isinstance(prompts, TextBatch), "a text transform collates texts"
        texts = generated(model, head, prompts, split, room, device, cancel)
        right += [int(text == expected[index]) for index, text in zip(batch, texts, strict=True)]
    return Answers(np.array(right, np.int32), np.ones(len(right), np.int32), "exact_match")


def generated(
    model: Model, head: TaskHead, batch: TextBatch, split: Split, room: int, device: str, cancel: Cancel
) -> list[str]:
    """The model's continuation of each prompt up to the end of its first line, stripped.

    Greedy: the likeliest token each time, at most `room` tokens and as many as the model has positions. The end mark that a
    tokenizer appends to a prompt is removed.
    """
    transform = _text_transform(split)
    tokenizer, end = transform.tokenizer, transform.tokenizer.eos_token_id
    prompts = [row[mask].tolist() for row, mask in zip(batch.ids, batch.mask, strict=True)]
    prompts = [ids[:-1] if len(ids) > 1 and ids[-1] == end else ids for ids in prompts]
    texts, open_rows = [list(ids) for ids in prompts], set(range(len(prompts)))
    for _ in range(room):
        rows = sorted(open_rows)
        inputs = transform.batch([torch.tensor([texts[row], [0] * len(texts[row])]).T for row in rows]).to(device)
        logits = head.answer(model, inputs)
        last = inputs.mask.sum(dim=1) - 1
        final = logits[torch.arange(len(rows), device=last.device), last]
        if wrong := int((~final.isfinite().all(dim=-1)).sum()):
            raise NoNumbers(wrong, len(rows))
        tokens = final.argmax(dim=-1).tolist()
        for row, token in zip(rows, tokens, strict=True):
            if token == end:
                open_rows.discard(row)
                continue
            texts[row].append(token)
            if len(texts[row]) == transform.most or "\n" in tokenizer.decode(texts[row][len(prompts[row]) :]).lstrip():
                open_rows.discard(row)
        cancel.check()
        if not open_rows:
            break
    answers = (
        tokenizer.decode(text[len(prompt) :], skip_special_tokens=True)
        for text, prompt in zip(texts, prompts, strict=True)
    )
    return [answer.strip().split("\n")[0].strip() for answer in answers]


def _text_transform(split: Split) -> TextTransform:
    assert isinstance(split.transform, TextTransform), "only a causal head generates, and its model reads texts"
    return split.transform

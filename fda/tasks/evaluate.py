"""Score a model on a task: its classes, numbers, next tokens or written answers against the labels.

What a score is made of them is `fda.tasks.metrics`; keeping answers is `fda.stages.evaluations`.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fda.architectures.model import Model
from fda.architectures.transforms import Batch, TextBatch
from fda.errors import UserError
from fda.tasks.answers import Answers
from fda.tasks.data import Split
from fda.tasks.heads import TaskHead
from fda.tasks.metrics import metric_name
from fda.zoos.zoo import TaskData

IMAGES = 256  # a batch
TEXTS = 32
MORE_TOKENS = 8  # that a written answer may have beyond the longest right one
NO_NUMBERS = "look for the tensor with `python -m fda zoo check`, or lower the method's coefficients with --set"


class NoNumbers(UserError):
    """`samples` of the `asked` ones had a logit that is NaN or infinite: they have no answer, and no score is made of them."""

    def __init__(self, samples: int, asked: int) -> None:
        self.samples, self.asked = samples, asked
        super().__init__(f"{samples:,} of {asked:,} samples have a logit that is NaN or infinite: {NO_NUMBERS}.")


@torch.no_grad()
def evaluate(
    model: Model,
    head: TaskHead,
    split: Split,
    device: str = "cpu",
    pulse: Callable[[], None] = lambda: None,
    data: TaskData | None = None,
    places: range | None = None,
) -> Answers:
    """What the weights that are in `model` (already on `device`) answer; `pulse` is called after each batch.

    `data`: the zoo's word on the task, whose metric is meant; without it accuracy, or for a language head next tokens.
    `places`: of the split only these samples. UserError if head, labels and metric do not belong together; NoNumbers, after all
    samples were asked, if some have a logit that is no finite number.
    """
    head = head.to(device)
    metric = scored_by(head, data)
    if metric == "exact_match":
        return _exact_match(model, head, split, device, pulse, range(len(split)) if places is None else places)
    if metric == "token_accuracy":
        split = replace(split, label=None)  # the texts themselves are what is to be told
    found: list[tuple[Tensor, ...]] = []
    wrong = 0
    for batch, labels in split.batches(TEXTS if split.transform.kind == "text" else IMAGES, places):
        logits = head.answer(model, batch.to(device))
        wrong += int((~numbers(logits, batch)).sum())
        found.append(tuple(part.cpu() for part in _answers(metric, logits, batch.to(device), labels, split)))
        pulse()
    predicted, label, *loss = (torch.cat(parts) for parts in zip(*found, strict=True))
    if wrong:
        raise NoNumbers(wrong, len(label))
    kind = np.float32 if metric == "pearson" else np.int32
    return Answers(
        predicted.numpy().astype(kind), label.numpy().astype(kind), metric, loss[0].numpy() if loss else None
    )


def scored_by(head: TaskHead, data: TaskData | None) -> str:
    """The name of the metric that a head and its data mean. UserError if they do not belong together."""
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
    """UserError if these labels are none that a head with `width` logits can be scored against."""
    if split.label is None:
        raise UserError(f"{split.where} have no column of labels: name it in `data.label`.")
    if metric == "pearson":
        if width != 1:
            raise UserError(f"Pearson's correlation needs a head of one number, and this one has {width}.")
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
    """(predicted, label) of a batch, and of next tokens the loss, each (b,)."""
    if metric == "token_accuracy":
        return next_tokens(logits, batch)
    require_labels(metric, split, labels, logits.shape[1])
    if metric == "pearson":
        return logits[:, 0], labels.float()
    return logits.argmax(dim=-1), labels


def numbers(logits: Tensor, batch: Batch) -> Tensor:
    """Of each sample, whether all its logits are finite; of next tokens, on its own tokens alone. Bool (b,)."""
    finite = logits.isfinite().all(dim=-1)
    return finite if finite.ndim == 1 else (finite | ~batch.mask.to(finite.device)).all(dim=1)


def next_tokens(logits: Tensor, batch: TextBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Of each text: how many next tokens were likeliest, how many there are, their summed negative log-likelihood; (b,)."""
    targets, real = batch.ids[:, 1:], batch.mask[:, 1:]
    logits = logits[:, :-1].float()
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    right = (logits.argmax(dim=-1) == targets) & real
    return right.sum(dim=1), real.sum(dim=1), losses.masked_fill(~real, 0.0).sum(dim=1)


def _exact_match(
    model: Model, head: TaskHead, split: Split, device: str, pulse: Callable[[], None], asked: range
) -> Answers:
    """1 for each prompt that is answered to the letter: written greedily up to the end of the text or of the line."""
    if split.label is None:
        raise UserError("exact match needs the column of the right answers: name it in `data.label`.")
    wanted = {place: text.strip() for place, text in zip(asked, split.texts(split.label, asked), strict=True)}
    tokenizer = split.transform.tokenizer
    room = max(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in wanted.values()) + MORE_TOKENS
    right: list[int] = []
    for start in range(asked.start, asked.stop, TEXTS):
        places = range(start, min(start + TEXTS, asked.stop))
        texts = written(model, head, split.at(places), split, room, device, pulse)
        right += [int(text == wanted[place]) for place, text in zip(places, texts, strict=True)]
    return Answers(np.array(right, np.int32), np.ones(len(right), np.int32), "exact_match")


def written(
    model: Model, head: TaskHead, batch: TextBatch, split: Split, room: int, device: str, pulse: Callable[[], None]
) -> list[str]:
    """What the model writes after each prompt, up to the first line's end, without spaces around it.

    The likeliest token each time, at most `room` of them and as many as the model has positions for. The end mark that a
    tokenizer puts behind a prompt is taken off.
    """
    tokenizer, end = split.transform.tokenizer, split.transform.tokenizer.eos_token_id
    prompts = [row[mask].tolist() for row, mask in zip(batch.ids, batch.mask, strict=True)]
    prompts = [one[:-1] if len(one) > 1 and one[-1] == end else one for one in prompts]
    texts, open_rows = [list(one) for one in prompts], set(range(len(prompts)))
    for _ in range(room):
        rows = sorted(open_rows)
        made = split.transform.batch([torch.tensor([texts[row], [0] * len(texts[row])]).T for row in rows]).to(device)
        logits = head.answer(model, made)
        last = made.mask.sum(dim=1) - 1
        final = logits[torch.arange(len(rows), device=last.device), last]
        if wrong := int((~final.isfinite().all(dim=-1)).sum()):
            raise NoNumbers(wrong, len(rows))
        tokens = final.argmax(dim=-1).tolist()
        for row, token in zip(rows, tokens, strict=True):
            if token == end:
                open_rows.discard(row)
                continue
            texts[row].append(token)
            if (
                len(texts[row]) == split.transform.most
                or "\n" in tokenizer.decode(texts[row][len(prompts[row]) :]).lstrip()
            ):
                open_rows.discard(row)
        pulse()
        if not open_rows:
            break
    answers = (
        tokenizer.decode(text[len(one) :], skip_special_tokens=True) for text, one in zip(texts, prompts, strict=True)
    )
    return [answer.strip().split("\n")[0].strip() for answer in answers]

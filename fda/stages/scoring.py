"""Evaluates several models on the tasks of a run in one pass over the data: each sample is prepared once.

Data that do not fit into memory are read in pieces, and every model answers a piece before the next one is read. Only one
model's weights are in memory at a time. The answers to a few batches at a time are saved and reported.
`merge_method.py` merges the models.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
from torch import Tensor

from fda.architectures.model import Model
from fda.cancel import NEVER, Cancel
from fda.checkpoints.weights import Weights
from fda.errors import UserError
from fda.jobs.lanes import run_lanes
from fda.stages.evaluations import answers_file, keep, keep_whole, part_file, read_kept
from fda.tasks.answers import Answers, Top
from fda.tasks.data import CACHE_BYTES, Split
from fda.tasks.evaluate import NO_NUMBERS, NoNumbers, evaluate, in_order
from fda.tasks.heads import TaskHead
from fda.zoos.zoo import TaskData


@dataclass(frozen=True)
class EvaluationSet:
    """One task's split, its head, and the entry of its data in the zoo file."""

    split: Split
    head: TaskHead
    data: TaskData


@dataclass(frozen=True)
class ModelToScore:
    """A model and the tasks to score it on; `owner` is the name of its method."""

    owner: str
    weights: Weights | Mapping[str, Tensor]
    tasks: tuple[str, ...]


def stay_in_memory(sets: Mapping[str, EvaluationSet]) -> bool:
    """Whether every prepared split fits into memory, so that models can be scored one after the other."""
    return all(evaluation.split.bytes <= CACHE_BYTES for evaluation in sets.values())


def answer(
    model: Model,
    models: Sequence[ModelToScore],
    sets: Mapping[str, EvaluationSet],
    device: str,
    *,
    cancel: Cancel = NEVER,
    report: Callable[[ModelToScore, int], None] = lambda _, __: None,
    limit: int | None = None,
) -> list[dict[str, Answers]]:
    """Task → answers, for each of `models`, whose tasks run side by side. Saved answers are reused.

    `model`: the module that the weights are loaded into. `limit`: bytes of prepared samples in memory over all tasks; None:
    splits that fit stay whole and in memory, also for the next call. `report(scored, count)` is called by any thread when a
    model has answered `count` more samples. Raises Cancelled soon after `cancel` asks for it.
    """
    states = [_ModelAnswers.of(scored, model, sets, device) for scored in models]
    for state in states:
        for saved in state.complete.values():
            report(state.scored, saved.count)
    splits = {task: each.split for task, each in sets.items() if any(task in state.parts for state in states)}
    for pieces in _rounds(splits, limit):
        for state in states:
            todo = {task: piece for task, piece in pieces.items() if task in state.parts}
            if not todo:
                continue
            model.load(state.scored.weights)
            model.to(device)
            _evaluate(model, todo, sets, device, cancel, state, report)
            for task in state.finish(todo, sets):
                keep_whole(state.files[task], state.complete[task])
    return [{task: state.complete[task] for task in state.scored.tasks} for state in states]


@dataclass(frozen=True)
class _ModelAnswers:
    """A model's answers by task: their files, the complete ones, and the parts so far of the others."""

    scored: ModelToScore
    files: dict[str, Path | None]
    complete: dict[str, Answers]
    parts: dict[str, list[Answers]]

    @classmethod
    def of(cls, scored: ModelToScore, model: Model, sets: Mapping[str, EvaluationSet], device: str) -> "_ModelAnswers":
        files = {}
        for task in scored.tasks:
            each = sets[task]
            files[task] = answers_file(model, scored.weights, each.head, each.split, each.data, device)
        complete = {task: saved for task, path in files.items() if (saved := read_kept(path)) is not None}
        return cls(scored, files, complete, {task: [] for task in scored.tasks if task not in complete})

    def finish(self, tasks: Iterable[str], sets: Mapping[str, EvaluationSet]) -> list[str]:
        """Join the parts of those of these tasks with an answer to every sample; returns these tasks."""
        finished = [task for task in tasks if sum(part.count for part in self.parts[task]) == len(sets[task].split)]
        for task in finished:
            self.complete[task] = joined(self.parts.pop(task))
        return finished


def joined(parts: Sequence[Answers]) -> Answers:
    """The answers on consecutive pieces of a split as one."""
    if len(parts) == 1:
        return parts[0]
    losses = [part.loss for part in parts if part.loss is not None]
    loss = np.concatenate(losses) if losses else None
    predicted, label = (np.concatenate([getattr(part, name) for part in parts]) for name in ("predicted", "label"))
    tops = [part.top for part in parts if part.top is not None]
    top = None
    if len(tops) == len(parts):
        classes, probabilities = (
            np.concatenate([getattr(top, name) for top in tops]) for name in ("classes", "probabilities")
        )
        top = Top(classes, probabilities)
    return Answers(predicted, label, parts[0].metric, loss, top)


def _rounds(splits: Mapping[str, Split], limit: int | None) -> Iterator[dict[str, Split]]:
    """Task → its next piece, until all splits are read. A piece is freed before the next is read."""
    if limit is None and all(split.bytes <= CACHE_BYTES for split in splits.values()):
        yield dict(splits)
        return
    room = (CACHE_BYTES if limit is None else limit) // max(1, len(splits))
    for pieces in zip_longest(*(split.pieces(room) for split in splits.values())):
        yield {task: piece for task, piece in zip(splits, pieces, strict=True) if piece is not None}


def _evaluate(
    model: Model,
    pieces: Mapping[str, Split],
    sets: Mapping[str, EvaluationSet],
    device: str,
    cancel: Cancel,
    state: _ModelAnswers,
    report: Callable[[ModelToScore, int], None],
) -> None:
    """Add the answers of the weights in `model` on these pieces to `state`, task by task side by side."""

    def lane(task: str) -> Callable[[Cancel], None]:
        def evaluate_task(cancel: Cancel) -> None:
            evaluation, piece = sets[task], pieces[task]
            answered = sum(part.count for part in state.parts[task])
            order, parts = piece.by_length(), []
            wrong = 0
            for span in piece.spans():
                file = part_file(state.files[task], answered + span.start)
                part = read_kept(file)
                if part is None or part.count != len(span):
                    indices = order[span.start : span.stop]
                    try:
                        part = evaluate(model, evaluation.head, piece, device, cancel, evaluation.data, indices)
                    except NoNumbers as error:
                        wrong += error.samples
                        continue
                    if len(span) < len(evaluation.split):
                        keep(file, part)
                parts.append(part)
                report(state.scored, part.count)
            if wrong:
                raise UserError(
                    f"{state.scored.owner}, task {task!r}: {wrong:,} of {len(piece):,} samples have a logit that is NaN "
                    f"or infinite, so nothing is scored: {NO_NUMBERS}."
                )
            state.parts[task].append(in_order(joined(parts), order))

        return evaluate_task

    run_lanes([lane(task) for task in pieces], device, cancel)

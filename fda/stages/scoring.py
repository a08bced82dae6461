"""What models answer on the tasks of a run: several models in one pass over the data, each sample prepared once.

Data that do not fit into memory come in pieces; every model answers a piece before the next one is read. Only one model's
weights are in memory at a time, whatever the number of models. Of a piece, a few batches' answers at a time are kept and told.
Merging the models is left to `compare.py`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
from torch import Tensor

from fda.architectures.model import Model
from fda.checkpoints.weights import Weights
from fda.errors import UserError
from fda.jobs.lanes import run_lanes
from fda.jobs.stopped import Stopped
from fda.stages.evaluations import answers_file, keep, keep_whole, part_file, read_kept
from fda.tasks.answers import Answers
from fda.tasks.data import CACHE_BYTES, Split
from fda.tasks.evaluate import NO_NUMBERS, NoNumbers, evaluate
from fda.tasks.heads import TaskHead
from fda.zoos.zoo import TaskData


@dataclass(frozen=True)
class Exam:
    """One task's split, the head that answers it, and what the zoo says of its data."""

    split: Split
    head: TaskHead
    data: TaskData


@dataclass(frozen=True)
class Candidate:
    """A model and the tasks that it is asked; `owner` is the method that it belongs to."""

    owner: str
    weights: Weights | Mapping[str, Tensor]
    tasks: tuple[str, ...]


def stay_in_memory(exams: Mapping[str, Exam]) -> bool:
    """Whether every split is small enough to stay in memory once it is prepared: then models may come one by one."""
    return all(exam.split.bytes <= CACHE_BYTES for exam in exams.values())


def answer(
    model: Model,
    candidates: Sequence[Candidate],
    exams: Mapping[str, Exam],
    device: str,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    told: Callable[[Candidate, int], None] = lambda _, __: None,
    limit: int | None = None,
) -> list[dict[str, Answers]]:
    """Task → answers of each candidate, its tasks side by side. Answers that are kept from before are not asked for again.

    `limit`: bytes of prepared samples that all tasks together hold in memory; None: splits that fit stay whole and in
    memory, for the next call too. `told(candidate, count)` is called, by any thread, whenever a candidate has answered so many
    samples more. Raises Stopped once `should_stop()` is true.
    """
    sittings = [_Sitting.of(one, model, exams, device) for one in candidates]
    for sitting in sittings:
        for kept in sitting.found.values():
            told(sitting.candidate, kept.count)
    splits = {task: exam.split for task, exam in exams.items() if any(task in sitting.parts for sitting in sittings)}
    for pieces in _rounds(splits, limit):
        for sitting in sittings:
            todo = {task: piece for task, piece in pieces.items() if task in sitting.parts}
            if not todo:
                continue
            model.load(sitting.candidate.weights)
            model.to(device)
            _ask(model, todo, exams, device, should_stop, sitting, told)
            for task in sitting.finish(todo, exams):
                keep_whole(sitting.files[task], sitting.found[task])
    return [{task: sitting.found[task] for task in sitting.candidate.tasks} for sitting in sittings]


@dataclass(frozen=True)
class _Sitting:
    """A candidate, where its answers are kept, those that are whole, and the parts of the others so far."""

    candidate: Candidate
    files: dict[str, Path | None]
    found: dict[str, Answers]
    parts: dict[str, list[Answers]]

    @classmethod
    def of(cls, one: Candidate, model: Model, exams: Mapping[str, Exam], device: str) -> "_Sitting":
        files = {}
        for task in one.tasks:
            exam = exams[task]
            files[task] = answers_file(model, one.weights, exam.head, exam.split, exam.data, device)
        found = {task: kept for task, path in files.items() if (kept := read_kept(path)) is not None}
        return cls(one, files, found, {task: [] for task in one.tasks if task not in found})

    def finish(self, tasks: Iterable[str], exams: Mapping[str, Exam]) -> list[str]:
        """Those of these tasks whose every sample is answered now."""
        whole = [task for task in tasks if sum(one.count for one in self.parts[task]) == len(exams[task].split)]
        for task in whole:
            self.found[task] = joined(self.parts.pop(task))
        return whole


def joined(parts: Sequence[Answers]) -> Answers:
    """The answers on consecutive pieces of a split as one."""
    if len(parts) == 1:
        return parts[0]
    loss = None if parts[0].loss is None else np.concatenate([part.loss for part in parts])
    predicted, label = (np.concatenate([getattr(part, name) for part in parts]) for name in ("predicted", "label"))
    return Answers(predicted, label, parts[0].metric, loss)


def _rounds(splits: Mapping[str, Split], limit: int | None) -> Iterator[dict[str, Split]]:
    """Task → its next piece, until all splits are read. A piece is let go of before the next is read."""
    if limit is None and all(split.bytes <= CACHE_BYTES for split in splits.values()):
        yield dict(splits)
        return
    room = (CACHE_BYTES if limit is None else limit) // max(1, len(splits))
    for pieces in zip_longest(*(split.pieces(room) for split in splits.values())):
        yield {task: piece for task, piece in zip(splits, pieces, strict=True) if piece is not None}


def _ask(
    model: Model,
    pieces: Mapping[str, Split],
    exams: Mapping[str, Exam],
    device: str,
    should_stop: Callable[[], bool],
    sitting: _Sitting,
    told: Callable[[Candidate, int], None],
) -> None:
    """Add what the weights in `model` answer on these pieces, side by side."""

    def lane(task: str) -> Callable[[Callable[[], bool]], None]:
        def ask(should_stop: Callable[[], bool]) -> None:
            def pulse() -> None:
                if should_stop():
                    raise Stopped

            exam, piece, parts = exams[task], pieces[task], sitting.parts[task]
            before = sum(part.count for part in parts)
            wrong = 0
            for places in piece.spans():
                file = part_file(sitting.files[task], before + places.start)
                part = read_kept(file)
                if part is None or part.count != len(places):
                    try:
                        part = evaluate(model, exam.head, piece, device, pulse, exam.data, places)
                    except NoNumbers as error:
                        wrong += error.samples
                        continue
                    if len(places) < len(exam.split):
                        keep(file, part)
                parts.append(part)
                told(sitting.candidate, part.count)
            if wrong:
                raise UserError(
                    f"{sitting.candidate.owner}, task {task!r}: {wrong:,} of {len(piece):,} samples have a logit that is NaN "
                    f"or infinite, so nothing is scored: {NO_NUMBERS}."
                )

        return ask

    run_lanes([lane(task) for task in pieces], device, should_stop)

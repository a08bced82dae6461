"""Scores mixes on samples of the validation split; what two mixes have in common is computed once.

One module holds the mix; only blocks that changed are written anew. Each batch keeps what the blocks gave, so that the next mix
begins at the first block that changed. Batches and arithmetic are those of `fda.tasks.evaluate`, so the answers are too.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fda.cancel import NEVER, Cancel
from fda.errors import UserError
from fda.jobs.lanes import run_lanes
from fda.jobs.mixer_messages import Prediction, Scores
from fda.stages.mix import Place
from fda.stages.mix_parts import UNCHANGED, PartKey
from fda.stages.scoring import joined
from fda.tasks.answers import Answers
from fda.tasks.data import Split, load_split
from fda.tasks.evaluate import IMAGES, TEXTS, WRITTEN, NoNumbers, evaluate, in_order, scored_by
from fda.tasks.heads import TaskHead, task_head
from fda.zoos.survey import OpenZoo

MOST_KEPT = 1024  # answers of a mix to a task's sample
SEED = 0  # of the choice of samples
FEW, ENOUGH = (2, 4, 32), 0.2  # samples that are timed, after two that warm up; seconds of one timing that are enough

Keys = Mapping[Place, PartKey]  # of every place
Write = Callable[[Place], Iterable[tuple[str, Tensor]]]  # place → its (name, tensor)


@dataclass
class _Batch:
    """What the blocks gave for one batch, `outputs[i]` with blocks that had the `chain` of keys (rest, 0, …, i)."""

    chain: tuple[PartKey, ...] = ()
    outputs: list[Any] = field(default_factory=list)
    known: int = 0  # outputs that the pass at work takes as they are


class Bench:
    """The samples of every task and the module that answers them. `room`: bytes of blocks' outputs to keep."""

    def __init__(self, opened: OpenZoo, device: str, room: int) -> None:
        self.opened, self.device, self.room = opened, device, room
        self.tasks = tuple(opened.tasks)
        self.heads: dict[str, TaskHead] = {task: task_head(opened, task) for task in self.tasks}
        self.splits = {task: _validation(opened, task) for task in self.tasks}
        self.order = {task: np.random.default_rng(SEED).permutation(len(split)) for task, split in self.splits.items()}
        self.part = lru_cache(maxsize=2 * len(self.tasks))(self._part)
        self.places: tuple[Place, ...] = (None, *(block.index for block in opened.model.blocks))
        opened.model.load(opened.base)
        opened.model.to(device)
        self._tensors = opened.model.module.state_dict()
        self._loaded: dict[Place, PartKey | None] = dict.fromkeys(self.places, UNCHANGED)
        self._answers: OrderedDict[tuple, Answers] = OrderedDict()
        self._batches: dict[tuple, _Batch] = {}
        self._full = False
        self._at = threading.local()
        for block in opened.model.blocks:
            self._keep_outputs(block.index, block.module)

    def sample(self, task: str, count: int) -> tuple[int, ...]:
        """The indices of the first `count` samples of a task's order, ascending."""
        return tuple(sorted(self.order[task][:count].tolist()))

    def metric(self, task: str) -> str:
        return scored_by(self.heads[task], self.opened.zoo.task(task).data)

    def answers(
        self, keys: Keys, write: Write, asked: Mapping[str, tuple[int, ...]], cancel: Cancel = NEVER
    ) -> dict[str, Answers]:
        """Task → the mix's answers to the samples at these indices of its validation split.

        Where the device has no memory for them beside the outputs that are kept, none are kept from then on, and batches
        become smaller. torch.OutOfMemoryError if one sample alone does not fit.
        """
        chain = tuple(keys[place] for place in self.places)
        todo = {task: indices for task, indices in asked.items() if (chain, task, indices) not in self._answers}
        if todo:
            self._load(keys, write, cancel)
            for task, answers in self._answer_within_memory(todo, chain, cancel).items():
                self._answers[chain, task, todo[task]] = answers
        for task, indices in asked.items():
            self._answers.move_to_end((chain, task, indices))
        result = {task: self._answers[chain, task, indices] for task, indices in asked.items()}
        while len(self._answers) > MOST_KEPT:
            self._answers.popitem(last=False)
        if self._full:  # what other samples left behind makes room for the next pass
            self._batches = {key: batch for key, batch in self._batches.items() if asked.get(key[0]) == key[1]}
            self._full = False
        return result

    def seconds_per_sample(self, task: str) -> float:
        """Seconds that the pretrained model takes for one sample; on a CPU one core's own, whatever else runs there."""
        clock = time.perf_counter if self.device != "cpu" else time.thread_time
        for count in FEW:
            indices = self.sample(task, count)
            split = self.part(task, indices)
            split.images(count)  # prepared before the clock runs
            began = clock()
            evaluate(self.opened.model, self.heads[task], split, self.device, data=self.opened.zoo.task(task).data)
            taken = clock() - began
            if taken > ENOUGH and count > FEW[0]:
                break
        return taken / len(indices)

    def _answer_within_memory(
        self, todo: Mapping[str, tuple[int, ...]], chain: tuple[PartKey, ...], cancel: Cancel
    ) -> dict[str, Answers]:
        try:
            return self._answer_all(todo, chain, cancel)
        except torch.OutOfMemoryError:
            if self.room == 0:
                raise
        self.room = 0
        self._batches.clear()
        return self._answer_all(todo, chain, cancel)  # not in the handler, which keeps the tensors of what failed

    def _answer_all(
        self, todo: Mapping[str, tuple[int, ...]], chain: tuple[PartKey, ...], cancel: Cancel
    ) -> dict[str, Answers]:
        answers: dict[str, Answers] = {}
        run_lanes([self._lane(task, indices, chain, answers) for task, indices in todo.items()], self.device, cancel)
        return answers

    def _lane(
        self, task: str, indices: tuple[int, ...], chain: tuple[PartKey, ...], answers: dict[str, Answers]
    ) -> Callable[[Cancel], None]:
        def lane(cancel: Cancel) -> None:
            answers[task] = self._answer(task, indices, chain, cancel)

        return lane

    @torch.no_grad()
    def _answer(self, task: str, indices: tuple[int, ...], chain: tuple[PartKey, ...], cancel: Cancel) -> Answers:
        split, head, data = self.part(task, indices), self.heads[task], self.opened.zoo.task(task).data
        size = TEXTS if split.transform.kind == "text" else IMAGES
        # written texts pass through the blocks token by token
        reuses = self.room > 0 and self.metric(task) not in WRITTEN
        order, parts = split.by_length(), []
        for start in range(0, len(order), size):
            key = (task, indices, start)
            batch = self._batches.get(key, _Batch())
            batch.known = _shared(batch.chain, chain) - 1
            batch.chain = batch.chain[: batch.known + 1]  # true also if this pass is cancelled half way
            self._at.batch = batch if reuses else None
            try:
                of_batch = order[start : start + size]
                parts.append(
                    evaluate(self.opened.model, head, split, self.device, cancel, data, of_batch, whole=reuses)
                )
            except NoNumbers:
                raise UserError(
                    f"task {task!r}: the mix answers with numbers that are not finite: lower its λ."
                ) from None
            finally:
                self._at.batch = None
            if reuses:
                batch.chain = chain[: len(batch.outputs) + 1]
                self._batches[key] = batch
        return in_order(joined(parts), order)

    def _keep_outputs(self, index: int, module: torch.nn.Module) -> None:
        """Let a block give what it gave before where the batch at work knows it."""
        forward = module.forward

        def kept(*args: Any, **keywords: Any) -> Any:
            batch: _Batch | None = getattr(self._at, "batch", None)
            if batch is None:
                return forward(*args, **keywords)
            if index < batch.known:
                return _copied(batch.outputs[index])
            output = forward(*args, **keywords)
            if index <= len(batch.outputs):
                del batch.outputs[index:]
                if self._has_room(output):
                    batch.outputs.append(_copied(output))
                else:
                    self._full = True
            return output

        module.forward = kept

    def _has_room(self, output: Any) -> bool:
        """Whether one more output may be kept; each is about as large as any other."""
        return (1 + sum(len(batch.outputs) for batch in list(self._batches.values()))) * _bytes(output) <= self.room

    def _load(self, keys: Keys, write: Write, cancel: Cancel) -> None:
        """Write the blocks that differ from those in the module into it."""
        for place in self.places:
            if self._loaded[place] == keys[place]:
                continue
            self._loaded[place] = None  # half written
            for name, tensor in write(place):
                self._tensors[name].copy_(tensor)
            self._loaded[place] = keys[place]
            cancel.check()

    def _part(self, task: str, indices: tuple[int, ...]) -> Split:
        return self.splits[task].part(indices)


def scores_of(answers: Mapping[str, Answers], shown: Mapping[str, Mapping[int, tuple[Answers, int]]]) -> Scores:
    """`shown`: task → index in the split → (answers that hold it, its place in them)."""
    values = {task: each.value for task, each in answers.items()}
    predictions = {
        task: tuple(_prediction(index, *where) for index, where in of_task.items()) for task, of_task in shown.items()
    }
    return Scores(tasks=values, average=sum(values.values()) / len(values), shown=predictions)


def _prediction(index: int, answers: Answers, at: int) -> Prediction:
    confidence = None if answers.top is None else float(answers.top.probabilities[at, 0])
    return Prediction(
        index=index, label=float(answers.label[at]), predicted=float(answers.predicted[at]), confidence=confidence
    )


def _validation(opened: OpenZoo, task: str) -> Split:
    """A task's validation split; no other is ever loaded here. UserError if the zoo names none."""
    data = opened.zoo.task(task).data
    if data is None or data.validation_split is None:
        raise UserError(
            f"task {task!r} of zoo {opened.zoo.name} has no `data.validation_split`, on which mixes are scored: add it."
        )
    return load_split(opened.zoo.task(task), data.validation_split, opened.model.transform)


def _shared(one: Sequence[PartKey], other: Sequence[PartKey]) -> int:
    """How many entries at the beginning are equal."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _copied(output: Any) -> Any:
    """Copies of the tensors in a block's output: a block may change its input in place."""
    if isinstance(output, Tensor):
        return output.clone()
    return type(output)(map(_copied, output)) if isinstance(output, tuple | list) else output


def _bytes(output: Any) -> int:
    if isinstance(output, Tensor):
        return output.nbytes
    return sum(map(_bytes, output)) if isinstance(output, tuple | list) else 0

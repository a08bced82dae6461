"""The mixer's process, which `fda.jobs.mixers` starts and asks: `python -m fda.stages.mixer SOCKET`.

It opens a zoo once and keeps models, samples, parts and blocks' outputs in memory. One thread reads what comes: a newer request
cancels the one at work. The process ends when the other end of the socket is closed, or after idleness. It reads no test split.
"""

import faulthandler
import json
import sys
import threading
import time
import traceback
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing.connection import Connection
from typing import Any

import psutil
import torch
from pydantic import ValidationError
from torch import Tensor

from fda.cancel import Cancel, Cancelled
from fda.errors import UserError, first_line
from fda.interpreter import begin, leave
from fda.jobs.lanes import lane_count
from fda.jobs.mixer_messages import (
    MOST_SHOWN,
    SAMPLES,
    About,
    Answer,
    BlockRow,
    Message,
    MixRequest,
    Pictures,
    Scores,
    TaskAbout,
)
from fda.requests.recipe import PRETRAINED, REST, Part, Recipe, assigned, read_recipe, settings_of
from fda.stages.examples import small_samples
from fda.stages.execute import resolve_device
from fda.stages.mix import Place, block_names, names_by_place
from fda.stages.mix_parts import PartKey, Parts, part_key
from fda.stages.mix_plane import Measured, find_plane, measure
from fda.stages.mix_scores import Bench, scores_of
from fda.store.store import Store
from fda.tasks.answers import Answers
from fda.zoos.finite import require_finite
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import Zoo

SECONDS = 1.0  # within which an answer is to come, on an idle machine
STEPS = (1000, 500, 200, 100, 50, 20, 10, 5)  # numbers of samples of a task that a large model is given
SHOWN = 30  # samples that are shown, of all tasks together
BUSY_SECONDS = 1800.0  # for one answer, while nothing else is asked
MOST_MEASURED = 100_000  # blocks of mixes whose place and change are kept
OUTPUTS_SHARE = 0.3  # of the room, for what blocks gave
NO_MEMORY = "the device has no memory for one sample of this model: end other programs on it."

Report = Callable[..., None]


@dataclass(frozen=True)
class Mix:
    """A recipe on this zoo's model: the part of each place, and what tells its tensors apart."""

    recipe: Recipe
    parts: dict[Place, Part]
    keys: dict[Place, PartKey]


@dataclass
class Engine:
    """One open zoo, ready to answer."""

    zoo: Zoo
    run_id: str | None
    room: int
    forecast_bytes: int
    measured: dict[tuple[Place, PartKey], Measured] = field(default_factory=dict)

    def open(self, report: Report) -> None:
        """Read everything that answers need. UserError if the zoo cannot be opened or scored."""
        report("opening the checkpoints")
        self.store, self.device = Store(), resolve_device("auto")
        if self.device == "cpu":
            torch.set_num_threads(1)  # as in a comparison's merge, so that the bytes are the same
        self.opened = open_zoo(self.zoo)
        require_finite(self.opened)
        self.names, self.blocks = names_by_place(self.opened), block_names(self.opened.model)
        outputs = int(self.room * OUTPUTS_SHARE)
        self.parts = Parts(self.opened, self.store, self.room - outputs)
        report("reading the samples")
        self.bench = Bench(self.opened, self.device, outputs)
        report("finding the plane")
        self.plane = find_plane(self.opened, self.store, self.run_id, self.names)
        report("measuring this machine")
        lanes = lane_count(self.device)
        self.seconds = sum(map(self.bench.seconds_per_sample, self.bench.tasks)) / lanes  # for a sample of every task
        self.largest = next((count for count in STEPS if count * self.seconds <= SECONDS), STEPS[-1])

    @cached_property
    def about(self) -> About:
        too_large = self.largest < SAMPLES
        return About(
            zoo=self.zoo.name,
            run_id=self.run_id,
            tasks=tuple(map(self._task_about, self.bench.tasks)),
            blocks=self.blocks,
            plane=None if self.plane is None else self.plane.about(self.opened),
            largest=self.largest,
            forecast_bytes=self.forecast_bytes,
            note=f"{self._fewer(SAMPLES)}." if too_large else None,
        )

    def answer(self, request: MixRequest, generation: int, cancel: Cancel, report: Report) -> Answer:
        """Score a mix. UserError for a recipe that cannot be mixed, Cancelled soon after `cancel` asks for it."""
        began = time.perf_counter()
        mix = self._mix(read_recipe(request.recipe, self.zoo))
        baseline = None if request.baseline is None else self._mix(read_recipe(request.baseline, self.zoo))
        tasks = mix.recipe.merged_tasks(self.zoo)
        count = min(request.samples, self.largest)
        samples = {task: self.bench.sample(task, count) for task in tasks}
        shown = self._shown(request, tasks)
        individual: dict[str, Scores] = {}
        for number, task in enumerate(tasks):
            report("scoring the experts", number / len(tasks))
            part = Part(blocks="all", method=f"individual:{task}")
            expert = self._mix(Recipe(zoo=self.zoo.name, parts=(part,)))
            individual[task] = self._scores(expert, {task: samples[task]}, {task: shown[task]}, cancel, _silent)
        pinned = None if baseline is None else self._scores(baseline, samples, shown, cancel, report)
        scores = self._scores(mix, samples, shown, cancel, report)
        rows = self._rows(mix)
        measured = [self.measured[block, mix.keys[block]] for block in self.names if block is not None]
        taken = time.perf_counter() - began
        return Answer(
            generation=generation,
            mix=scores,
            individual=_together(individual),
            baseline=pinned,
            place=None if self.plane is None else self.plane.at(measured),
            blocks=rows,
            samples={task: len(indices) for task, indices in samples.items()},
            note=None
            if count == request.samples
            else f"{self._fewer(request.samples)}; this answer took {taken:.0f} s.",
            seconds=taken,
            resident_bytes=psutil.Process().memory_info().rss,
        )

    def pictures(self, shown: dict[str, list[int]], cancel: Cancel) -> dict[str, Any]:
        """Task → `Pictures`, as plain data."""
        pictures = {}
        for task, indices in shown.items():
            self._require(task, indices)
            split = self.bench.splits[task]
            kept, labels = small_samples(split, sorted(set(indices)), cancel), split.labels()
            content = {index: b64encode(sample).decode() for index, sample in kept.content.items()}
            pictures[task] = Pictures(
                kind=kept.kind, content=content, labels={index: float(labels[index]) for index in content}
            ).model_dump(mode="json")
        return pictures

    # a mix ---------------------------------------------------------------------------------------------------------------

    def _mix(self, recipe: Recipe) -> Mix:
        pretrained = Part(blocks="all", method=PRETRAINED)
        places = assigned(recipe, self.blocks)
        parts = {place: recipe.parts[places[place]] if place in places else pretrained for place in self.names}
        keys = {place: part_key(part, recipe, self.opened) for place, part in parts.items()}
        return Mix(recipe, parts, keys)

    def _scores(
        self,
        mix: Mix,
        samples: dict[str, tuple[int, ...]],
        shown: dict[str, tuple[int, ...]],
        cancel: Cancel,
        report: Report,
    ) -> Scores:
        for part in dict.fromkeys(
            part.method for part in mix.parts.values() if not self.parts.is_kept(part, mix.recipe)
        ):
            report(f"computing {part}")

        def write(place: Place) -> Iterator[tuple[str, Tensor]]:
            key, unit, measured = mix.keys[place], (place, mix.keys[place]._replace(value=1.0)), Measured()
            known = key.value is not None and unit in self.measured  # then λ scales what is known of λ 1
            for name, tensor in self.parts.tensors(mix.parts[place], mix.recipe, self.names[place], cancel):
                if not known:
                    measure(measured, name, tensor, self.parts.base, self.plane)
                yield name, tensor
            if known and key.value is not None:
                measured = self.measured[unit].times(key.value)
            elif key.value:
                self.measured[unit] = measured.times(1 / key.value)
            self.measured[place, key] = measured

        if len(self.measured) > MOST_MEASURED:
            self.measured.clear()
        answers = self.bench.answers(mix.keys, write, samples, cancel)
        for place, key in mix.keys.items():
            if (place, key) not in self.measured:
                deque(write(place), maxlen=0)
        more = {task: tuple(sorted(set(shown[task]) - set(samples[task]))) for task in samples}
        more = {task: indices for task, indices in more.items() if indices}
        placed = {task: _placed(samples[task], each) for task, each in answers.items()}
        for task, each in self.bench.answers(mix.keys, write, more, cancel).items():
            placed[task] |= _placed(more[task], each)
        return scores_of(answers, {task: {index: placed[task][index] for index in shown[task]} for task in samples})

    def _rows(self, mix: Mix) -> tuple[BlockRow, ...]:
        return tuple(
            BlockRow(
                block=REST if place is None else self.blocks[place],
                index=place,
                method=part.method,
                settings=settings_of(part, self.zoo),
                weights=part.weights,
                change=self.measured[place, mix.keys[place]].change,
            )
            for place, part in sorted(mix.parts.items(), key=lambda entry: (entry[0] is None, entry[0] or 0))
        )

    # samples -------------------------------------------------------------------------------------------------------------

    def _task_about(self, task: str) -> TaskAbout:
        split, each = self.bench.splits[task], max(1, SHOWN // len(self.bench.tasks))
        title = self.zoo.task(task).title or task
        return TaskAbout(
            name=task,
            title=title,
            metric=self.bench.metric(task),
            samples=len(split),
            shown=self.bench.sample(task, each),
            classes=split.class_names,
        )

    def _shown(self, request: MixRequest, tasks: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
        each = max(1, SHOWN // len(self.bench.tasks))
        if not request.shown:
            return {task: self.bench.sample(task, each) for task in tasks}
        for task, indices in request.shown.items():
            self._require(task, indices)
        return {task: tuple(dict.fromkeys(request.shown.get(task, ()))) for task in tasks}

    def _require(self, task: str, indices: Any) -> None:
        """UserError for a task or an index that is none."""
        if task not in self.bench.splits:
            raise UserError(f"zoo {self.zoo.name} has no task {task!r}: it has {', '.join(self.bench.tasks)}.")
        count = len(self.bench.splits[task])
        if len(indices) > MOST_SHOWN or not all(isinstance(index, int) and 0 <= index < count for index in indices):
            raise UserError(f"task {task!r} shows at most {MOST_SHOWN} samples, with numbers from 0 to {count - 1}.")

    def _fewer(self, asked: int) -> str:
        return f"this model is large for this machine: of each task {self.largest} samples are answered, not {asked}"


def _placed(indices: tuple[int, ...], answers: Answers) -> dict[int, tuple[Answers, int]]:
    return {index: (answers, at) for at, index in enumerate(indices)}


def _together(scores: dict[str, Scores]) -> Scores:
    tasks = {task: one.tasks[task] for task, one in scores.items()}
    shown = {task: one.shown[task] for task, one in scores.items()}
    return Scores(tasks=tasks, average=sum(tasks.values()) / len(tasks), shown=shown)


def _silent(*_: object) -> None:
    pass


# the process ---------------------------------------------------------------------------------------------------------


class Process:
    """Answers what comes through a connection, one message after the other, until it is closed or nobody asks any more."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.waiting: deque[dict[str, Any]] = deque()
        self.came, self.sending = threading.Condition(), threading.Lock()
        self.busy = False
        self.newest = 0  # of all mixes that came
        first = json.loads(connection.recv_bytes())
        self.idle_seconds = float(first["idle_seconds"])
        zoo = Zoo.model_validate(first["zoo"])
        self.engine = Engine(zoo, first["run_id"], int(first["parts_bytes"]), int(first["forecast_bytes"]))
        self.ready = False

    def run(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            with self.came:
                if not self.came.wait_for(lambda: self.waiting, timeout=self.idle_seconds):
                    return
                message = self.waiting.popleft()
            self.busy = True
            self._answer(message)
            self.busy = False

    def _read(self) -> None:
        """Queue what comes; a newer mix takes the place of older ones. The end of the connection ends the process."""
        while True:
            try:
                while not self.connection.poll(BUSY_SECONDS):
                    if self.busy:
                        print(f"one answer took more than {BUSY_SECONDS / 60:.0f} minutes", file=sys.stderr)
                        leave(1)
                message = json.loads(self.connection.recv_bytes())
            except (EOFError, OSError, ValueError):
                leave(0)
            with self.came:
                if message["kind"] == "mix":
                    older = [one for one in self.waiting if one["kind"] == "mix"]
                    self.newest = message["generation"]
                    for one in older:
                        self.waiting.remove(one)
                        self._send(one["generation"], "superseded")
                self.waiting.append(message)
                self.came.notify()

    def _answer(self, message: dict[str, Any]) -> None:
        generation, kind = int(message["generation"]), message["kind"]
        cancel = Cancel(lambda: kind == "mix" and self.newest > generation)

        def report(text: str, share: float | None = None) -> None:
            self._send(generation, "progress", text=text, share=share)

        try:
            if not self.ready:
                self.engine.open(report)
                self.ready = True
            self._send(generation, "result", content=self._content(kind, message, generation, cancel, report))
        except Cancelled:
            self._send(generation, "superseded")
        except UserError as error:
            self._send(generation, "problem", sentence=str(error))
        except ValidationError as error:
            self._send(generation, "problem", sentence=f"the request is wrong: {first_line(error)}.")
        except torch.OutOfMemoryError:
            self._send(generation, "problem", sentence=NO_MEMORY)
        except Exception as error:
            traceback.print_exc()
            self._send(generation, "problem", sentence=f"the mix failed ({type(error).__name__}: {first_line(error)}).")

    def _content(self, kind: str, message: dict[str, Any], generation: int, cancel: Cancel, report: Report) -> Any:
        if kind == "about":
            return _plain(self.engine.about)
        if kind == "pictures":
            return self.engine.pictures(message["shown"], cancel)
        return _plain(self.engine.answer(MixRequest.model_validate(message["request"]), generation, cancel, report))

    def _send(self, generation: int, kind: str, **content: Any) -> None:
        with self.sending:
            self.connection.send_bytes(json.dumps({"kind": kind, "generation": generation, **content}).encode())


def _plain(message: Message) -> dict[str, Any]:
    return message.model_dump(mode="json")


def main(descriptor: int) -> int:
    faulthandler.enable()
    begin()
    Process(Connection(descriptor)).run()
    return 0


if __name__ == "__main__":
    leave(main(int(sys.argv[1])))

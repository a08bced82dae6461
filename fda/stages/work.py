"""What every stage receives: the run, its checkpoints, its device, and a way to learn that the run should stop."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from fda.architectures.blocks import Block
from fda.cancel import Cancel
from fda.checkpoints.weights import Weights
from fda.errors import UserError
from fda.settings import ConstructSettings, LandscapeSettings
from fda.stages.phases import PhaseTracker
from fda.store.finished import damage, keep
from fda.store.spec import RunSpec
from fda.store.store import Store
from fda.zoos.survey import OpenZoo
from fda.zoos.zoo import TaskData


class Material:
    """What units are computed from, on any machine: a run's spec, its open checkpoints, a device."""

    spec: RunSpec
    opened: OpenZoo
    device: str

    @property
    def blocks(self) -> list[Block]:
        """The blocks that the spec names, or all if it names none."""
        chosen = self.spec.blocks or range(len(self.opened.model.blocks))
        return [self.opened.model.blocks[index] for index in chosen]

    @property
    def finetuned(self) -> list[Weights]:
        """The finetuned weights in the order of `spec.tasks`."""
        return [self.opened.tasks[name] for name in self.spec.tasks]

    @property
    def construction(self) -> ConstructSettings:
        """The construction settings of a run that constructs or imports anchors."""
        if self.spec.construction is None:
            raise ValueError("the run constructs no anchors")
        return self.spec.construction


@dataclass(frozen=True)
class NodeMaterial(Material):
    """The material of a process that is no run's worker."""

    spec: RunSpec
    opened: OpenZoo
    device: str


@dataclass(frozen=True)
class Work(Material):
    """One run at work. `cancel` is checked at every step, batch and tensor."""

    store: Store
    run_id: str
    spec: RunSpec
    opened: OpenZoo
    device: str
    cancel: Cancel
    phases: PhaseTracker = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "phases", PhaseTracker(self.store, self.run_id))

    @property
    def folder(self) -> Path:
        return self.store.run_dir(self.run_id)

    @property
    def landscape(self) -> LandscapeSettings:
        """The settings of a landscape run."""
        if self.spec.landscape is None:
            raise ValueError("the run computes no landscape")
        return self.spec.landscape

    @property
    def anchors_run(self) -> str:
        """The run whose anchors this run uses: itself if it has any. UserError if it names none."""
        source = self.run_id if self.spec.construction is not None else self.spec.anchors_run
        if source is None:
            raise UserError("the run has no anchors: name a finished construct run with --anchors RUN_ID.")
        return source

    def data(self, task: str) -> TaskData:
        """The task's data. UserError if the zoo names none."""
        data = self.spec.zoo.task(task).data
        if data is None:
            raise UserError(f"task {task!r} has no data: name some in the zoo file.")
        return data

    def train_split(self, task: str) -> str:
        """The name of the task's training split. UserError if the zoo names none."""
        split = self.data(task).train_split
        if split is None:
            raise UserError(f"task {task!r} has no training split: name it in the zoo file as train_split.")
        return split

    def keep(self, path: Path) -> None:
        """Record the size and checksum of a finished file in the run's folder."""
        keep(self.store, self.run_id, path)

    def is_whole(self, path: Path) -> bool:
        """Whether the file exists and is unchanged since it was written. Logs a damaged file; the caller makes it again."""
        record = self.store.files(self.run_id).get(path.relative_to(self.folder).as_posix())
        problem = damage(path, record) if record is not None or path.is_file() else "is missing"
        if problem is not None and problem != "is missing":
            print(f"fda: {path} {problem}: it is made again.", file=sys.stderr, flush=True)
        return problem is None

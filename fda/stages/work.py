"""What every stage of a run's work is given: the run, its checkpoints, its device, and a way to hear that it should stop."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fda.architectures.blocks import Block
from fda.checkpoints.weights import Weights
from fda.jobs.stopped import Stopped
from fda.store.finished import damage, keep
from fda.store.spec import RunSpec
from fda.store.store import Store
from fda.zoos.survey import OpenZoo


@dataclass(frozen=True)
class Work:
    """One run at work. `should_stop` is asked at every step; `pulse` asks it and raises Stopped."""

    store: Store
    run_id: str
    spec: RunSpec
    opened: OpenZoo
    device: str
    should_stop: Callable[[], bool]

    @property
    def folder(self) -> Path:
        return self.store.run_dir(self.run_id)

    @property
    def blocks(self) -> list[Block]:
        """The blocks that the spec names; all of them if it names none."""
        chosen = self.spec.blocks or range(len(self.opened.model.blocks))
        return [self.opened.model.blocks[index] for index in chosen]

    @property
    def finetuned(self) -> list[Weights]:
        """In the order of `spec.tasks`."""
        return [self.opened.tasks[name] for name in self.spec.tasks]

    def keep(self, path: Path) -> None:
        """Record a file of the run's folder that is finished: its size and checksum."""
        keep(self.store, self.run_id, path)

    def is_whole(self, path: Path) -> bool:
        """Is the file there, as it was written? One that is damaged is named in the log, and is to be made again."""
        record = self.store.files(self.run_id).get(path.relative_to(self.folder).as_posix())
        told = damage(path, record) if record is not None or path.is_file() else "is missing"
        if told is not None and told != "is missing":
            print(f"fda: {path} {told}: it is made again.", file=sys.stderr, flush=True)
        return told is None

    def pulse(self) -> None:
        if self.should_stop():
            raise Stopped

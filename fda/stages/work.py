"""What every stage receives: the run, its checkpoints, its device, and a way to learn that the run should stop."""

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
        """The blocks that the spec names, or all if it names none."""
        chosen = self.spec.blocks or range(len(self.opened.model.blocks))
        return [self.opened.model.blocks[index] for index in chosen]

    @property
    def finetuned(self) -> list[Weights]:
        """The finetuned weights in the order of `spec.tasks`."""
        return [self.opened.tasks[name] for name in self.spec.tasks]

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

    def pulse(self) -> None:
        if self.should_stop():
            raise Stopped

"""What every stage of a run's work is given: the run, its checkpoints, its device, and a way to hear that it should stop."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fda.architectures.blocks import Block
from fda.checkpoints.weights import Weights
from fda.jobs.stopped import Stopped
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

    def pulse(self) -> None:
        if self.should_stop():
            raise Stopped

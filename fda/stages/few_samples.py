"""A few samples of every task of a run, prepared once, which many weights answer."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from fda.stages.work import Work
from fda.tasks.answers import Answers
from fda.tasks.data import load_split
from fda.tasks.evaluate import evaluate
from fda.tasks.heads import task_head


class FewSamples:
    """At most `count` samples of each of `tasks`, spread over its scored split. UserError as `load_split`."""

    def __init__(self, work: Work, tasks: Sequence[str], count: int) -> None:
        self.work = work
        self._of = {}
        for task in tasks:
            split = load_split(work.opened.zoo.task(task), work.data(task).split, work.opened.model.transform)
            self._of[task] = (split, split.spread(count), task_head(work.opened, task))

    @property
    def splits(self) -> str:
        """The names of the splits, for a note."""
        return " and the ".join(sorted({self.work.data(task).split for task in self._of}))

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Let these weights answer from now on."""
        self.work.opened.model.load(weights)
        self.work.opened.model.to(self.work.device)

    def answers(self, task: str) -> Answers:
        """UserError as `evaluate`."""
        work, (split, indices, head) = self.work, self._of[task]
        return evaluate(work.opened.model, head, split, work.device, work.cancel, work.data(task), indices)

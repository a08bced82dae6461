"""The data of a comparison: each split of each task is read once, for all methods."""

from functools import cache

from fda.stages.scoring import EvaluationSet
from fda.stages.work import Work
from fda.tasks.data import Split, load_split
from fda.tasks.first_samples import COUNT, samples_note
from fda.tasks.heads import TaskHead, task_head
from fda.zoos.hub import tell_on_stderr


class Splits:
    """The tasks' heads and splits. What is noticed in a split is told on stderr when it is read."""

    def __init__(self, work: Work) -> None:
        self.heads: dict[str, TaskHead] = {name: task_head(work.opened, name) for name in work.spec.tasks}
        self.samples_notes: dict[tuple[str, str], str] = {}  # (task, split) → what its samples lack, perhaps nothing
        self.of = cache(self._read)  # (task, name of a split) → Split
        self.count = cache(self._count)
        self._work = work

    def test(self, task: str) -> Split:
        return self.of(task, self._work.data(task).split)

    def sets(self, *, validation: bool = False) -> dict[str, EvaluationSet]:
        """Every task's test or validation split. UserError as `load_split`."""
        sets = {}
        for name, head in self.heads.items():
            data = self._work.data(name)
            split = data.validation_split if validation else data.split
            sets[name] = EvaluationSet(self.of(name, split), head, data)
        return sets

    def notes(self, tasks: list[str]) -> dict[str, dict[str, str]]:
        """What a result says of the tasks' test splits: `labels`, `samples` → task → its note, where there is one."""
        splits = {name: self.test(name) for name in tasks}
        labels = {name: split.note for name, split in splits.items() if not self.heads[name].causal}
        samples = {name: self.samples_notes[name, self._work.data(name).split] for name in tasks}
        kinds = {"labels": labels, "samples": samples}
        by_kind = {kind: {name: note for name, note in notes.items() if note} for kind, notes in kinds.items()}
        return {kind: notes for kind, notes in by_kind.items() if notes}

    def _count(self, validation: bool) -> int:
        """Samples of all tasks' test or validation splits; 1 if one cannot be loaded, which scoring then reports."""
        try:
            return sum(len(each.split) for each in self.sets(validation=validation).values())
        except Exception:  # datasets raises anything
            return 1

    def _read(self, task: str, split: str) -> Split:
        loaded = load_split(self._work.opened.zoo.task(task), split, self._work.opened.model.transform)
        notes = [loaded.skipped, samples_note(loaded, loaded.spread(COUNT))]
        self.samples_notes[task, split] = " ".join(note for note in notes if note is not None)
        for note in (*notes, None if self.heads[task].causal else loaded.note):
            if note is not None:
                tell_on_stderr(f"task {task!r}, split {split!r}: {note}")
        return loaded

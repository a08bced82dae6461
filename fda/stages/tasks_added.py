"""The panel tasks_added: how a method's normalised accuracy falls as it merges two tasks, three, up to all."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from fda.errors import UserError
from fda.merging.merge import merge
from fda.merging.method import Method
from fda.merging.registry import METHODS
from fda.stages.work import Work
from fda.store.analyses import Panel, Table, table_of
from fda.tasks.data import Split, load_split
from fda.tasks.evaluate import evaluate
from fda.tasks.heads import TaskHead, task_head

SAMPLES = 128  # a task
USUAL = ("average", "ta", "tsv")  # where the run has no method that merges checkpoints alone


def tasks_added_tables(work: Work) -> dict[Panel, Table]:
    """Of the run's methods that merge checkpoints alone, tasks in the run's order. UserError as `load_split`.

    Normalised (Ilharco et al. 2023): score / expert's score, both on the same samples.
    """
    tasks = work.spec.tasks
    if len(tasks) < 2:
        raise UserError("the run has one task: name a run with two tasks or more.")
    chosen = [METHODS[name] for name in work.spec.methods if _merges_alone(METHODS[name])]
    chosen = chosen or [METHODS[name] for name in USUAL]
    scored = _Scored(work)
    experts = {task: scored.score(work.opened.tasks[task], [task])[0] for task in tasks}
    undefined = [task for task, score in experts.items() if score <= 0]
    rows, notes = [], []
    for method in chosen:
        given = work.spec.hyperparameters.get(method.name, {})
        given = {name: value for name, value in given.items() if name != "weights"}  # of all tasks
        for count in range(max(2, method.least_tasks), len(tasks) + 1):
            if method.tasks not in (None, count):
                continue
            finetuned = work.finetuned[:count]
            merged = merge(method, work.opened.base, finetuned, in_by_out=work.opened.model.in_by_out, **given)
            work.cancel.check()
            for task, score in zip(tasks[:count], scored.score(merged, tasks[:count]), strict=True):
                if task not in undefined:
                    rows.append((method.name, count, task, score, score / experts[task]))
    splits = " and the ".join(sorted({work.data(task).split for task in tasks}))
    notes = [
        f"On at most {SAMPLES} samples a task of the {splits} split, tasks in the order {', '.join(tasks)}.",
        "Methods that read inputs or anchors are not shown: they would have to be adapted again for each number of tasks.",
    ]
    if undefined:
        notes.append(f"Without {', '.join(undefined)}: the expert's score there is not above zero.")
    return {"tasks_added": table_of("tasks_added", rows, notes)}


def _merges_alone(method: Method) -> bool:
    return method.merge is not None and method.needs == "nothing" and not method.swept


class _Scored:
    """Scores of weights on the first samples of each task, which are prepared once."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.of: dict[str, tuple[Split, Sequence[int], TaskHead]] = {}
        for task in work.spec.tasks:
            split = load_split(work.opened.zoo.task(task), work.data(task).split, work.opened.model.transform)
            self.of[task] = (split, split.spread(SAMPLES), task_head(work.opened, task))

    def score(self, weights: Mapping[str, Tensor], tasks: Sequence[str]) -> list[float]:
        model, work = self.work.opened.model, self.work
        model.load(weights)
        model.to(work.device)
        found = []
        for task in tasks:
            split, indices, head = self.of[task]
            found.append(evaluate(model, head, split, work.device, work.cancel, work.data(task), indices).value)
        return found

"""The panel tasks_added: how a method's normalised accuracy falls as it merges two tasks, three, up to all."""

from fda.errors import UserError
from fda.merging.merge import merge
from fda.merging.method import Method
from fda.merging.registry import METHODS
from fda.stages.few_samples import FewSamples
from fda.stages.work import Work
from fda.store.analyses import Panel, Table, table_of

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
    samples, experts = FewSamples(work, tasks, SAMPLES), {}
    for task in tasks:
        samples.load(work.opened.tasks[task])
        experts[task] = samples.answers(task).value
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
            samples.load(merged)
            for task in tasks[:count]:
                if task not in undefined:
                    score = samples.answers(task).value
                    rows.append((method.name, count, task, score, score / experts[task]))
    notes = [
        f"On at most {SAMPLES} samples a task of the {samples.splits} split, tasks in the order {', '.join(tasks)}.",
        "Methods that read inputs or anchors are not shown: they would have to be adapted again for each number of tasks.",
    ]
    if undefined:
        notes.append(f"Without {', '.join(undefined)}: the expert's score there is not above zero.")
    return {"tasks_added": table_of("tasks_added", rows, notes)}


def _merges_alone(method: Method) -> bool:
    return method.merge is not None and method.needs == "nothing" and not method.swept

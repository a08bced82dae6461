"""The panel disentanglement: over a grid of two tasks' coefficients, how often one task changes the other's answers."""

from collections.abc import Mapping, Sequence
from itertools import combinations, product

import numpy as np
import torch

from fda.analysis.disentanglement import Moved, disentanglement_error
from fda.checkpoints.weights import Weights
from fda.errors import UserError
from fda.merging.method import task_vectors
from fda.stages.work import Work
from fda.store.analyses import Panel, Table, table_of
from fda.tasks.data import Split, load_split
from fda.tasks.evaluate import NoNumbers, evaluate
from fda.tasks.heads import TaskHead, task_head
from fda.tasks.metrics import metric_name

ALPHAS = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
SAMPLES = 32  # a task
MOST_PAIRS = 10


def disentanglement_tables(work: Work) -> dict[Panel, Table]:
    """Of pairs of the run's tasks that answer with classes. UserError if there are no two of them, or as `load_split`."""
    judge = _Judge(work)
    if len(judge.tasks) < 2:
        raise UserError("disentanglement needs two tasks that answer with classes, which the run does not have.")
    pairs, notes = _pairs(work, judge.tasks)
    rows = []
    for first, second in pairs:
        models = [work.opened.tasks[task] for task in (first, second)]
        alone = {
            (task, alpha): judge.classes(Moved(work.opened.base, [model], [alpha]), [task])
            for task, model in zip((first, second), models, strict=True)
            for alpha in ALPHAS
        }
        for one, other in product(ALPHAS, ALPHAS):
            expected = alone[first, one] + alone[second, other]
            answered = judge.classes(Moved(work.opened.base, models, [one, other]), [first, second])
            rows.append((first, second, one, other, disentanglement_error(expected, answered)))
    splits = " and the ".join(sorted({work.data(task).split for task in judge.tasks}))
    notes = [f"On at most {SAMPLES} samples a task of the {splits} split; no label is read.", *notes]
    if left_out := [task for task in work.spec.tasks if task not in judge.tasks]:
        notes.append(
            f"Without {', '.join(left_out)}: {'they do' if len(left_out) > 1 else 'it does'} not answer with classes."
        )
    return {"disentanglement": table_of("disentanglement", rows, notes)}


class _Judge:
    """The classes that a model gives to a few samples of each task. `tasks`: those that answer with classes."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.tasks: dict[str, tuple[Split, Sequence[int], TaskHead]] = {}
        for task in work.spec.tasks:
            data, head = work.data(task), task_head(work.opened, task)
            if head.causal or metric_name(data, causal=False) not in ("accuracy", "matthews"):
                continue
            split = load_split(work.opened.zoo.task(task), data.split, work.opened.model.transform)
            self.tasks[task] = (split, split.spread(SAMPLES), head)

    def classes(self, weights: Mapping[str, torch.Tensor], tasks: Sequence[str]) -> list[np.ndarray]:
        """(n,) a task, floats; NaN where the model's answers are no numbers any more."""
        work, model = self.work, self.work.opened.model
        model.load(weights)
        model.to(work.device)
        found = []
        for task in tasks:
            split, indices, head = self.tasks[task]
            try:
                answers = evaluate(model, head, split, work.device, work.cancel, work.data(task), indices)
                found.append(answers.predicted.astype(float))
            except NoNumbers:
                found.append(np.full(len(indices), np.nan))
        return found


def _pairs(work: Work, tasks: Sequence[str] | Mapping[str, object]) -> tuple[list[tuple[str, str]], list[str]]:
    """(pairs, notes): all, or those whose task vectors are the most alike."""
    pairs = list(combinations(tasks, 2))
    if len(pairs) <= MOST_PAIRS:
        return pairs, []
    alike = _cosines(work, list(tasks))
    pairs = sorted(sorted(pairs, key=lambda pair: -abs(alike[pair]))[:MOST_PAIRS], key=pairs.index)
    return pairs, [f"Of {len(list(combinations(tasks, 2)))} pairs, the {MOST_PAIRS} whose task vectors are most alike."]


def _cosines(work: Work, tasks: Sequence[str]) -> dict[tuple[str, str], float]:
    """Cosine of each pair's task vectors within the run's blocks."""
    finetuned: list[Weights] = [work.opened.tasks[task] for task in tasks]
    gram = torch.zeros(len(tasks), len(tasks), dtype=torch.float64)
    for block in work.blocks:
        for name in (block.prefix + layer for layer in block.names):
            taus = torch.stack([tau.flatten() for tau in task_vectors(name, work.opened.base[name].float(), finetuned)])
            gram += (taus @ taus.T).double()
        work.cancel.check()
    norms = gram.diagonal().sqrt().clamp(min=1e-30)
    cosines = gram / norms / norms[:, None]
    return {(a, b): float(cosines[tasks.index(a), tasks.index(b)]) for a, b in combinations(tasks, 2)}

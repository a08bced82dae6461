"""The panel disentanglement: over a grid of two tasks' coefficients, how often one task changes the other's answers."""

from collections.abc import Mapping, Sequence
from itertools import combinations, product

import numpy as np
from torch import Tensor

from fda.analysis.disentanglement import Moved, disentanglement_error
from fda.analysis.landscape import gram_of_differences
from fda.errors import UserError
from fda.stages.few_samples import FewSamples
from fda.stages.work import Work
from fda.store.analyses import Panel, Table, table_of
from fda.tasks.answers import OF_CLASSES
from fda.tasks.evaluate import NoNumbers, scored_by
from fda.tasks.heads import task_head

ALPHAS = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
SAMPLES = 32  # a task
MOST_PAIRS = 10


def disentanglement_tables(work: Work) -> dict[Panel, Table]:
    """Of pairs of the run's tasks that answer with classes. UserError if there are no two of them, or as `load_split`."""
    tasks = [task for task in work.spec.tasks if _answers_with_classes(work, task)]
    if len(tasks) < 2:
        raise UserError("disentanglement needs two tasks that answer with classes, which the run does not have.")
    samples = FewSamples(work, tasks, SAMPLES)
    pairs, notes = _pairs(work, tasks)
    rows = []
    for first, second in pairs:
        models = [work.opened.tasks[task] for task in (first, second)]
        alone = {
            (task, alpha): _classes(samples, Moved(work.opened.base, [model], [alpha]), [task])
            for task, model in zip((first, second), models, strict=True)
            for alpha in ALPHAS
        }
        for one, other in product(ALPHAS, ALPHAS):
            expected = alone[first, one] + alone[second, other]
            answered = _classes(samples, Moved(work.opened.base, models, [one, other]), [first, second])
            rows.append((first, second, one, other, disentanglement_error(expected, answered)))
    notes = [f"On at most {SAMPLES} samples a task of the {samples.splits} split; no label is read.", *notes]
    if left_out := [task for task in work.spec.tasks if task not in tasks]:
        notes.append(
            f"Without {', '.join(left_out)}: {'they do' if len(left_out) > 1 else 'it does'} not answer with classes."
        )
    return {"disentanglement": table_of("disentanglement", rows, notes)}


def _classes(samples: FewSamples, weights: Mapping[str, Tensor], tasks: Sequence[str]) -> list[np.ndarray]:
    """(n,) a task, floats; NaN where the model's answers are no numbers any more."""
    samples.load(weights)
    classes = []
    for task in tasks:
        try:
            classes.append(samples.answers(task).predicted.astype(float))
        except NoNumbers as error:
            classes.append(np.full(error.asked, np.nan))
    return classes


def _answers_with_classes(work: Work, task: str) -> bool:
    return scored_by(task_head(work.opened, task), work.data(task)) in OF_CLASSES


def _pairs(work: Work, tasks: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """(pairs, notes): all, or those whose task vectors within the run's blocks are the most alike."""
    pairs = list(combinations(tasks, 2))
    if len(pairs) <= MOST_PAIRS:
        return pairs, []
    names = [block.prefix + name for block in work.blocks for name in block.names]
    models = [work.opened.tasks[task] for task in tasks]
    gram = gram_of_differences(names, work.opened.base, models, work.device, work.cancel)
    norms = gram.diagonal().sqrt().clamp(min=1e-30)
    alike = (gram / norms / norms[:, None]).abs()
    chosen = sorted(pairs, key=lambda pair: -alike[tasks.index(pair[0]), tasks.index(pair[1])])[:MOST_PAIRS]
    return sorted(chosen, key=pairs.index), [
        f"Of {len(pairs)} pairs, the {MOST_PAIRS} whose task vectors are most alike."
    ]

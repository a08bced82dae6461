"""The difference between two merged models over seeds, with its paired confidence interval."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fda.analysis.intervals import interval, resampled_accuracies
from fda.errors import UserError
from fda.store.predictions import correctness
from fda.store.store import Store

RunMethod = tuple[str, str]  # (run id, method): the model that this run merged by this method


@dataclass(frozen=True)
class Paired:
    """Average accuracies of both models, one a seed, and the mean of second − first with its 95 % `interval`."""

    first: list[float]
    second: list[float]
    difference: float
    interval: list[float]


def paired(store: Store, pairs: Sequence[tuple[RunMethod, RunMethod]], tasks: Sequence[str]) -> Paired:
    """Compare two models; `pairs` has both of each seed. UserError where a run has no answers of a method.

    The interval comes from resampling the test samples within each task, alike for both models and all seeds; the averages
    show the spread over seeds.
    """
    answered = [[_correct(store, pair, task) for task in tasks] for pair in pairs]
    averages = np.array([[correct.mean(axis=1) for correct in by_task] for by_task in answered]).mean(
        axis=1
    )  # seeds × 2
    draws = np.mean([np.diff(resampled_accuracies(by_task), axis=0)[0].mean(axis=0) for by_task in answered], axis=0)
    return Paired(
        averages[:, 0].tolist(),
        averages[:, 1].tolist(),
        float((averages[:, 1] - averages[:, 0]).mean()),
        interval(draws).tolist(),
    )


def _correct(store: Store, pair: tuple[RunMethod, RunMethod], task: str) -> np.ndarray:
    """Bool (2, n): which samples of the task each model got right."""
    both = []
    for run, method in pair:
        correct = correctness(store.run_dir(run), (method,), task)
        if correct is None:
            raise UserError(f"run {run} has no answers of {method}: `python -m fda runs show {run}` says why.")
        both.append(correct)
    return np.concatenate(both)

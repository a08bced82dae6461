"""Bootstrap confidence intervals of scores, from what each sample adds to them. NumPy only; pages import it.

Percentile bootstrap (Efron and Tibshirani 1993, chapter 13). A resample draws as many samples of a task as it has, with
replacement, and asks all methods about the same ones, so that what two methods share cancels in their difference. Tasks
are resampled each on its own. A score that is no mean (a correlation) is a function of sums over samples, and a resample
only has other sums, so every metric goes one way. What is made of the resampled scores (averages, ratios, differences) is
in `scores.py`.
"""

from collections.abc import Callable, Sequence

import numpy as np

RESAMPLES = 1000
LEVEL = 0.95
CHUNK_BYTES = 32 * 2**20  # of counts at a time: 90,000 samples need 360 MB otherwise


Score = Callable[[np.ndarray], np.ndarray]  # sums (…, k) → (…)


def resampled_accuracies(correct: Sequence[np.ndarray], *, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Accuracies 0..1 of every resample, float64 (methods, tasks, resamples), from a bool (methods, n) for each task.

    A task's resamples depend on its place, its n and the seed alone, not on which methods are asked.
    """
    return resampled_scores([(own[..., None], None) for own in correct], resamples=resamples, seed=seed)


def resampled_scores(
    tasks: Sequence[tuple[np.ndarray, Score | None]], *, resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """Scores of every resample, float64 (methods, tasks, resamples), from (what each sample adds (methods, n, k), score).

    Without a score it is the mean of k = 1. Resamples as for `resampled_accuracies`.
    """
    return np.stack(
        [
            _one_task(own, score, resamples, np.random.default_rng((seed, task)))
            for task, (own, score) in enumerate(tasks)
        ],
        axis=1,
    )


def interval(draws: np.ndarray, *, level: float = LEVEL) -> np.ndarray:
    """(…, resamples) → (…, 2): the quantiles that leave out (1 − level) / 2 at each end; NaN where a draw is NaN."""
    tail = 50 * (1 - level)
    return np.moveaxis(np.percentile(draws, (tail, 100 - tail), axis=-1), 0, -1)


def _one_task(sums: np.ndarray, score: Score | None, resamples: int, random: np.random.Generator) -> np.ndarray:
    """(methods, resamples): how often each sample is drawn, times what it adds, made into scores."""
    methods, n, k = sums.shape
    exact = np.float32 if sums.dtype == bool else float  # whole numbers below 2²⁴: their sums are exact
    added = np.ascontiguousarray(sums.transpose(1, 0, 2).reshape(n, methods * k), dtype=exact)
    found = np.empty((methods, resamples))
    at_once = max(1, CHUNK_BYTES // (added.itemsize * n))
    for first in range(0, resamples, at_once):
        last = min(first + at_once, resamples)
        times = np.empty((last - first, n), exact)
        for row in times:
            row[:] = np.bincount(random.integers(0, n, n), minlength=n)
        drawn = (times @ added).reshape(last - first, methods, k)
        found[:, first:last] = (drawn[..., 0].astype(float) / n if score is None else score(drawn)).T
    return found

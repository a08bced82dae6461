"""Bootstrap confidence intervals of scores, from each sample's contribution to them. NumPy only: pages import it.

Percentile bootstrap (Efron and Tibshirani 1993, chapter 13). A resample draws n of a task's n samples with replacement, the
same ones for all methods, so that errors which two methods share cancel in their difference. Tasks are resampled
independently. Every score, also a correlation, is a function of sums over samples, so all metrics are resampled by the same
code. `scores.py` forms averages, ratios and differences of the resampled scores.
"""

from collections.abc import Callable, Sequence

import numpy as np

RESAMPLES = 1000
LEVEL = 0.95
CHUNK_BYTES = 32 * 2**20  # of counts in memory: all counts of 90,000 samples would need 360 MB

Score = Callable[[np.ndarray], np.ndarray]  # sums (…, k) → (…)


def resampled_accuracies(correct: Sequence[np.ndarray], *, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Accuracies 0..1 of every resample, float64 (methods, tasks, resamples), from a bool (methods, n) for each task.

    A task's resamples depend only on its index, its n and the seed, not on the methods.
    """
    return resampled_scores([(answers[..., None], None) for answers in correct], resamples=resamples, seed=seed)


def resampled_scores(
    tasks: Sequence[tuple[np.ndarray, Score | None]], *, resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """Scores of every resample, float64 (methods, tasks, resamples), from (contributions (methods, n, k), score) a task.

    A contribution is what one sample adds to the k sums that `score` takes; a score of None is the mean, with k = 1. Draws
    the same resamples as `resampled_accuracies`.
    """
    return np.stack(
        [
            _one_task(sums, score, resamples, np.random.default_rng((seed, task)))
            for task, (sums, score) in enumerate(tasks)
        ],
        axis=1,
    )


def interval(draws: np.ndarray, *, level: float = LEVEL) -> np.ndarray:
    """(…, resamples) → (…, 2): the quantiles that leave out (1 − level) / 2 at each end; NaN where a draw is NaN."""
    tail = 50 * (1 - level)
    return np.moveaxis(np.percentile(draws, (tail, 100 - tail), axis=-1), 0, -1)


def _one_task(sums: np.ndarray, score: Score | None, resamples: int, random: np.random.Generator) -> np.ndarray:
    """(methods, resamples): scores of Σ (times a sample is drawn) · (its contribution)."""
    methods, n, k = sums.shape
    exact = np.float32 if sums.dtype == bool else float  # float32 adds whole numbers below 2²⁴ exactly
    added = np.ascontiguousarray(sums.transpose(1, 0, 2).reshape(n, methods * k), dtype=exact)
    scores = np.empty((methods, resamples))
    at_once = max(1, CHUNK_BYTES // (added.itemsize * n))
    for first in range(0, resamples, at_once):
        last = min(first + at_once, resamples)
        times = np.empty((last - first, n), exact)
        for row in times:
            row[:] = np.bincount(random.integers(0, n, n), minlength=n)
        drawn = (times @ added).reshape(last - first, methods, k)
        scores[:, first:last] = (drawn[..., 0].astype(float) / n if score is None else score(drawn)).T
    return scores

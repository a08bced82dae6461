"""Search of λ for a score that has no gradient, by few evaluations: along the diagonal first, then task by task.

A pattern search (Hooke and Jeeves 1961) on a grid: accuracy is a step function of λ, which leaves methods that fit a slope
nothing to go by.
"""

from collections.abc import Generator, Sequence

Lambdas = tuple[float, ...]
FIRST, LAST = 0.2, 0.05  # step at the start and at the end
COMMON = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)  # one λ for all tasks, tried first


def search(start: Sequence[float], *, bounds: tuple[float, float], budget: int) -> Generator[Lambdas, float, Lambdas]:
    """Yield λ to evaluate, at most `budget` and none twice, and take their scores; return the best, the first of equals.

    `start` (tasks,), evaluated first; `bounds`: of each λ. Steps halve from FIRST to LAST when no task's λ gains by one.
    """
    scores: dict[Lambdas, float] = {}
    best: Lambdas | None = None
    for wanted in _wanted(start, bounds, scores):
        if wanted in scores:
            continue
        if len(scores) == budget:
            break
        scores[wanted] = yield wanted
        if best is None or scores[wanted] > scores[best]:
            best = wanted
    return best if best is not None else tuple(start)


def _wanted(start: Sequence[float], bounds: tuple[float, float], scores: dict[Lambdas, float]) -> Generator[Lambdas]:
    """What to look at next; `scores` holds what has been found so far."""
    low, high = bounds
    yield tuple(start)
    for common in COMMON:
        if low <= common <= high:
            yield (common,) * len(start)
    step = FIRST
    while step >= LAST - 1e-9:
        before = max(scores.values())
        for task in range(len(start)):
            for way in (step, -step):
                centre = max(scores, key=lambda one: scores[one])
                value = round(min(high, max(low, centre[task] + way)), 4)
                yield (*centre[:task], value, *centre[task + 1 :])
        if max(scores.values()) <= before:
            step /= 2

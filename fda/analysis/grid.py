"""A square grid that is filled in from coarse to fine: its extent, the order of its points, interpolation between them.

NumPy only. Points are numbered row by row: point = row · points + column, with a row for each b and a column for each a.
"""

import numpy as np

COARSEST = 5  # points per side of the coarsest level
TILE = 8  # points that are computed together; stopping a run loses at most one tile
MARGIN = 0.15  # of the extent, added on each side
NARROWEST = 0.4  # smallest ratio of one side's extent to the other's, before the margin


def extent(a: np.ndarray, b: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    """((lowest a, highest a), (lowest b, highest b)) around all points, with a margin and a bounded aspect ratio."""
    spans = [(float(np.min(values)), float(np.max(values))) for values in (a, b)]
    widest = max(high - low for low, high in spans)
    sides = []
    for low, high in spans:
        short = max(0.0, NARROWEST * widest - (high - low))
        reach = MARGIN * max(high - low, NARROWEST * widest) + short / 2
        sides.append((low - reach, high + reach))
    return sides[0], sides[1]


def levels(points: int) -> list[np.ndarray]:
    """Indices along a side, int (k,), for each level from the coarsest to the full grid; each contains the one before."""
    nested = []
    count = COARSEST
    while count < points:
        nested.append(np.unique(np.linspace(0, points - 1, count).round().astype(int)))
        count = 2 * count - 1
    return [*nested, np.arange(points)]


def tiles(points: int) -> list[tuple[int, ...]]:
    """All points of the grid from coarse to fine, in tiles of at most `TILE` points; no tile spans two levels."""
    ordered: list[tuple[int, ...]] = []
    seen: set[int] = set()
    for level in levels(points):
        fresh = [int(row * points + column) for row in level for column in level]
        fresh = [point for point in fresh if point not in seen]
        seen.update(fresh)
        ordered += [tuple(fresh[start : start + TILE]) for start in range(0, len(fresh), TILE)]
    return ordered


def refined(values: np.ndarray) -> np.ndarray:
    """(points, points): `values` with NaNs between known points of a coarser level filled in by linear interpolation.

    Known values do not change. A NaN of the coarsest level stays, and so do the NaNs beside it.
    """
    points = len(values)
    coarse, filled = None, np.empty((0, 0))
    for level in levels(points):
        finer = values[np.ix_(level, level)]
        if coarse is not None:
            across = np.array([np.interp(level, coarse, row) for row in filled])
            both = np.array([np.interp(level, coarse, column) for column in across.T]).T
            finer = np.where(np.isnan(finer), both, finer)
        coarse, filled = level, finer
    return filled

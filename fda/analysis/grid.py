"""The square grid of a loss landscape, filled in from coarse to fine: its extent, its order, interpolation between its points.

a and b are the coordinates on the landscape's plane (`fda.analysis.landscape`). `points` is the number of grid points
along a side. They are numbered row by row: number = row · points + column, with a row for each b and a column for each a.
NumPy only.
"""

import numpy as np

COARSEST = 5  # points per side of the coarsest level
TILE = 8  # grid points whose loss is computed together; a run that is stopped loses at most one tile
MARGIN = 0.15  # of a side, after widening it to NARROWEST; added at both of its ends
NARROWEST = 0.4  # smallest ratio of one side's extent to the other's, before the margin


def extent(a: np.ndarray, b: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    """((lowest a, highest a), (lowest b, highest b)) around the places (a[i], b[i]), with a margin and a bounded aspect ratio.

    Its size is 0 where all places are one.
    """
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
    """`values` (points, points), indexed [row of b, column of a], with unknown ones (NaN) filled in by linear interpolation.

    Known values do not change. An unknown point of the coarsest level stays unknown, and so do unknown points in the cells
    around it.
    """
    points = len(values)
    coarse, filled = None, np.empty((0, 0))
    for level in levels(points):
        finer = values[np.ix_(level, level)]
        if coarse is not None:
            rows_filled = np.array([np.interp(level, coarse, row) for row in filled])
            interpolated = np.array([np.interp(level, coarse, column) for column in rows_filled.T]).T
            finer = np.where(np.isnan(finer), interpolated, finer)
        coarse, filled = level, finer
    return filled

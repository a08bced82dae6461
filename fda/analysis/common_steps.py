"""Curves of different lengths on one axis, so that they can be averaged."""

from collections.abc import Sequence

import numpy as np

Curve = tuple[np.ndarray, np.ndarray]  # (x (S,), ascending; values (S,))


def on_common_x(curves: Sequence[Curve]) -> Curve:
    """(x (S,), values (curves, S)) on every x that any of the curves has, interpolated; NaN beyond a curve's first and last x.

    `curves` has at least one curve, and each at least one point.
    """
    x = np.unique(np.concatenate([one for one, _ in curves]))
    return x, np.stack([np.interp(x, *curve, left=np.nan, right=np.nan) for curve in curves])

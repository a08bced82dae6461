"""Smoothing of noisy curves: the exponential moving average that TensorBoard and W&B use, with bias correction."""

import numpy as np


def ema(values: np.ndarray, weight: float) -> np.ndarray:
    """The smoothed series (S,), 0 <= weight < 1; weight 0 is the series itself. A NaN stays a gap and counts for nothing."""
    if weight <= 0 or len(values) == 0:
        return np.asarray(values, float)
    total, norm = 0.0, 0.0
    smoothed = np.empty(len(values))
    for index, value in enumerate(np.asarray(values, float)):
        if np.isnan(value):
            smoothed[index] = np.nan
            continue
        total = weight * total + (1 - weight) * value
        norm = weight * norm + (1 - weight)  # 1 - weight^t: what a series of ones would have come to
        smoothed[index] = total / norm
    return smoothed

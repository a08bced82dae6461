"""The range around a mean, as a band without an edge."""

from typing import Any

import numpy as np

from fda.figures.theme import faint


def band(x: np.ndarray, low: np.ndarray, high: np.ndarray, colour: str, *, group: str, uid: str) -> dict[str, Any]:
    """A trace that fills from `low` to `high` (S,) over `x` (S,). `group`: the legend entry that hides it, too."""
    return {
        "type": "scatter",
        "x": np.concatenate([x, x[::-1]]),
        "y": np.concatenate([high, low[::-1]]).astype(np.float32),
        "mode": "lines",
        "line": {"width": 0},
        "fill": "toself",
        "fillcolor": faint(colour, 0.15),
        "legendgroup": group,
        "showlegend": False,
        "hoverinfo": "skip",
        "uid": uid,
    }

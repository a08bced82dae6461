"""Figures for a projector: letters and lines that read from ten metres."""

from typing import Any

import plotly.graph_objects as go

LETTERS = 2.0  # factor of letters and of the room that they take
LINES = 1.8  # factor of lines and markers
SIZES = {
    "font": {"size": LETTERS},
    "line": {"width": LINES},
    "marker": {"size": LINES},
    "margin": dict.fromkeys("lrtb", LETTERS),
    "colorbar": {"thickness": LETTERS},
    "annotations": {"xshift": LETTERS, "yshift": LETTERS},
}


def for_projector(figure: go.Figure) -> go.Figure:
    """A copy with larger letters, lines, markers and margins."""
    return go.Figure(_enlarged(figure.to_plotly_json(), ""), skip_invalid=True)


def _enlarged(node: Any, name: str) -> Any:
    """`node`, the value of the key `name`, with the sizes of `SIZES` multiplied; an item of a list has the list's name."""
    if isinstance(node, list | tuple) and any(isinstance(item, dict) for item in node):
        return [_enlarged(item, name) for item in node]
    if not isinstance(node, dict):
        return node
    factors = SIZES.get("font" if name in ("textfont", "tickfont") else name, {})
    return {
        key: _times(value, factors[key]) if key in factors else _enlarged(value, key) for key, value in node.items()
    }


def _times(value: Any, factor: float) -> Any:
    return [factor * one for one in value] if isinstance(value, list | tuple) else factor * value

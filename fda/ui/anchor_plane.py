"""Anchors of a layer in two dimensions as points that the reader drags; the browser computes and draws everything.

The angle loss is that of fda/analysis/playground.py, written anew in components/plane_math.js.
"""

from fda.figures.theme import PALETTES
from fda.ui.components import component
from fda.ui.page import theme

# Δ has full rank, so that its gradient can point along it, and unequal singular values, so that directions differ.
DELTA = ((0.9, 0.35), (0.1, 0.6))
# The points lie along the direction that Δ changes least: the gradient begins far off.
START = ((0.66, -0.78), (-0.5, 0.86), (-0.3, 0.36), (0.46, -0.34), (-0.72, 0.62))
GOAL = 5  # degrees off Δ that the reader is asked to reach
ALT = "Five anchors with the ellipse of X Xᵀ, the gradient's rows as arrows over those of Δ, and a dial of their angle"

_plane = component("anchor_plane", scripts=("plane_math",), styles=("anchor_plane",), isolate_styles=False)


def anchor_plane(*, fill: float, lecture: bool) -> None:
    """Show it at full width. `fill`: its share of the window's height; `lecture`: large, for a projector."""
    palette = PALETTES[theme()]
    one, two, *_ = palette.series
    names = ("ink", "muted", "plain", "surface", "accent")
    colours = {name: getattr(palette, name) for name in names} | {"one": one, "two": two}
    data = {
        "delta": DELTA,
        "start": START,
        "goal": GOAL,
        "fill": fill,
        "lecture": lecture,
        "alt": ALT,
        "colours": colours,
    }
    _plane(key="anchor-plane", data=data)

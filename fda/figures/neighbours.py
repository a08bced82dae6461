"""A map of one unit's anchors and real inputs, with rays from an anchor to the real inputs nearest to it."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from fda.escape import plotly
from fda.figures.scrub import Scrubbed
from fda.figures.theme import PALETTES, Theme, blank, series_colour

ANCHOR = "anchor"  # name of the dial
ANCHORS, REAL = "anchors", "real-inputs"  # uids of the traces that react to the pointer
TEXT_LETTERS = 60  # of a text in a hover
MOST_CLASSES = 12  # that get a colour and a symbol each; more are drawn alike
SYMBOLS = ("circle-open", "square-open", "triangle-up-open", "cross-open", "x-open", "star-open", "hexagon-open")


def neighbour_map(
    anchors: np.ndarray,
    real: np.ndarray,
    nearest: np.ndarray,
    names: Sequence[str],
    theme: Theme,
    *,
    title: str,
    classes: Sequence[str] = (),
    uirevision: str | None = None,
) -> Scrubbed:
    """`anchors` (n, 2) and `real` (m, 2) in the first two principal components of both together. `nearest` (n, k) holds
    indices into `real`, nearest first; `names` (m,) describe the real inputs, `classes` (m,) are
    their classes, as far as they are known. Follows the dial `anchor`.

    Rays lead to the nearest inputs in the full space, which need not be near on the map.
    """
    palette = PALETTES[theme]
    figure = blank(title, theme, height=480, uirevision=uirevision)
    scrubbed = Scrubbed(figure)
    rays = [_rays(anchors[index], real[nearest[index]]) for index in range(len(anchors))]
    figure.add_scatter(
        x=rays[0][0],
        y=rays[0][1],
        mode="lines",
        line={"width": 1.3, "color": palette.muted, "dash": "dot"},
        hoverinfo="skip",
        showlegend=False,
        uid="rays",
    )
    colours, symbols = _marks(classes, figure, theme) or (series_colour(1, theme), SYMBOLS[0])
    figure.add_scatter(
        x=real[:, 0].astype(np.float32),
        y=real[:, 1].astype(np.float32),
        text=[plotly(name if len(name) <= TEXT_LETTERS else name[: TEXT_LETTERS - 1] + "…") for name in names],
        mode="markers",
        marker={"symbol": symbols, "size": 8, "color": colours, "line": {"width": 1.5}},
        name="real inputs",
        showlegend=isinstance(colours, str),
        hovertemplate="real input: %{text}<extra></extra>",
        uid=REAL,
    )
    figure.add_scatter(
        x=anchors[:, 0].astype(np.float32),
        y=anchors[:, 1].astype(np.float32),
        text=[f"anchor {index}" for index in range(len(anchors))],
        mode="markers",
        marker={"symbol": "diamond", "size": 8, "color": series_colour(0, theme), "opacity": 0.8},
        name="anchors",
        hovertemplate="%{text}: click to see its nearest<extra></extra>",
        uid=ANCHORS,
    )
    figure.add_scatter(
        x=[float(anchors[0, 0])],
        y=[float(anchors[0, 1])],
        text=["anchor 0"],
        mode="markers+text",
        textposition="top center",
        textfont={"size": 12, "color": palette.ink},
        marker={"symbol": "diamond-open", "size": 17, "color": palette.ink, "line": {"width": 2.5}},
        hoverinfo="skip",
        showlegend=False,
        uid="chosen",
    )
    scrubbed.move_trace(ANCHOR, "rays", x=[ray[0] for ray in rays], y=[ray[1] for ray in rays])
    scrubbed.move_trace(
        ANCHOR,
        "chosen",
        x=anchors[:, :1].tolist(),
        y=anchors[:, 1:].tolist(),
        text=[[f"anchor {index}"] for index in range(len(anchors))],
    )
    figure.update_xaxes(title="first principal component")
    figure.update_yaxes(title="second principal component")
    return scrubbed


def _marks(classes: Sequence[str], figure: go.Figure, theme: Theme) -> tuple[list[str], list[str]] | None:
    """(colour, symbol) of each real input by its class, with the legend's entries; None where classes are not told apart."""
    known = sorted(set(classes))
    if not 1 < len(known) <= MOST_CLASSES or "" in known:
        return None
    marks = {}
    for index, name in enumerate(known):
        round_, position = divmod(index, len(SYMBOLS))  # series 0 is the anchors'; a second round has other pairs
        marks[name] = series_colour(1 + position, theme), SYMBOLS[(position + round_) % len(SYMBOLS)]
        marker = {"symbol": marks[name][1], "size": 8, "color": marks[name][0], "line": {"width": 1.5}}
        figure.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name=plotly(name), hoverinfo="skip")
    return [marks[name][0] for name in classes], [marks[name][1] for name in classes]


def _rays(start: np.ndarray, ends: np.ndarray) -> tuple[list, list]:
    """x and y of the lines from `start` (2,) to each of `ends` (k, 2), with gaps between them."""
    x, y = [], []
    for end in ends:
        x += [float(start[0]), float(end[0]), None]
        y += [float(start[1]), float(end[1]), None]
    return x, y

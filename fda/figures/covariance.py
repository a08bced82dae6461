"""How far stand-ins agree with the real input Gram matrices: one small figure a kind of layer, all on one scale."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from fda.figures.theme import PALETTES, SYMBOLS, Theme, blank, faint, series_colour

STAND_INS = ("task vector", "anchors", "real", "identity")
TITLES = {
    "task vector": "task vector, τᵀτ",
    "anchors": "anchors",
    "real": "other real samples",
    "identity": "identity matrix",
}
ACROSS = 4  # small figures in a row
ROW_PIXELS = 300


@dataclass(frozen=True)
class Agreement:
    """Over the `blocks`: the mean over tasks, and the lowest and highest task; NaN where there is no number."""

    blocks: Sequence[int]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def covariance_figure(
    agreements: Mapping[str, Mapping[str, Agreement]], theme: Theme, *, of: str, uirevision: str | None = None
) -> go.Figure:
    """`agreements`: layer → member of STAND_INS → agreement. `of`: whose agreement, for the title."""
    across = min(ACROSS, len(agreements))
    down = math.ceil(len(agreements) / across)
    figure = blank(
        f"Agreement with the real input Gram matrix, {of}", theme, height=90 + ROW_PIXELS * down, uirevision=uirevision
    )
    figure.set_subplots(
        down, across, shared_xaxes="all", shared_yaxes="all", horizontal_spacing=0.02, vertical_spacing=0.12 / down,
        subplot_titles=[_short(layer) for layer in agreements],
    )  # fmt: skip
    figure.update_annotations(font={"size": 12, "color": PALETTES[theme].muted})
    for at, stand_ins in enumerate(agreements.values()):
        for name in STAND_INS:
            if any(math.isfinite(value) for value in stand_ins[name].mean):
                _add(figure, name, stand_ins[name], theme, 1 + at // across, 1 + at % across, first=at == 0)
    figure.update_layout(margin={"t": 84}, legend={"y": 0, "yref": "container", "yanchor": "bottom"})
    figure.update_yaxes(range=[0, 1.04])
    figure.update_yaxes(title="cosine", col=1)
    figure.update_xaxes(title="block", row=down)
    figure.update_xaxes(dtick=_tick(agreements), ticks="")
    return figure


def _add(
    figure: go.Figure, name: str, agreement: Agreement, theme: Theme, row: int, column: int, *, first: bool
) -> None:
    """A curve of the mean with bars to the lowest and highest task; references are thin, without bars."""
    reference = name in STAND_INS[2:]
    at = STAND_INS.index(name)
    colour = PALETTES[theme].muted if reference else series_colour(at, theme)
    spread = None
    if not reference and list(agreement.low) != list(agreement.high):
        spread = {
            "array": [high - mean for mean, high in zip(agreement.mean, agreement.high, strict=True)],
            "arrayminus": [mean - low for mean, low in zip(agreement.mean, agreement.low, strict=True)],
            "symmetric": False,
            "color": faint(colour, 0.55),
            "thickness": 1,
            "width": 3,
        }
    figure.add_scatter(
        x=list(agreement.blocks),
        y=list(agreement.mean),
        error_y=spread,
        mode="lines" if reference else "lines+markers",
        line={"color": colour, "width": 1.5 if reference else 2.2, "dash": ("solid", "solid", "dash", "dot")[at]},
        marker={"symbol": SYMBOLS[at], "size": 8},
        name=TITLES[name],
        legendgroup=name,
        showlegend=first,
        hovertemplate=f"<b>{TITLES[name]}</b><br>block %{{x}}: %{{y:.3f}}<extra></extra>",
        uid=f"{name} {row} {column}",
        row=row,
        col=column,
    )


def _short(layer: str) -> str:
    """`attn.in_proj_weight` → `attn.in_proj`, with a break at the last point for a narrow screen."""
    return "<br>".join(layer.removesuffix("weight").rstrip("._").rsplit(".", 1))


def _tick(agreements: Mapping[str, Mapping[str, Agreement]]) -> int:
    """Blocks between two labels of an axis."""
    most = max(len(one.blocks) for stand_ins in agreements.values() for one in stand_ins.values())
    return max(1, math.ceil(most / 8))

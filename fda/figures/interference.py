"""Interference of task vectors by block: singular vectors on the left, signs on the right, a curve a kind of layer."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from fda.figures.theme import DASHES, PALETTES, SYMBOLS, Theme, blank, series_colour

HALVES = ("STI of singular vectors", "share of conflicting signs")
CHANCE = 0.5  # sign conflict of independent signs


@dataclass(frozen=True)
class LayerInterference:
    """Over the `blocks`, of one kind of layer; NaN where there is no number."""

    blocks: Sequence[int]
    interference: Sequence[float]
    conflict: Sequence[float]


def interference_figure(
    layers: Mapping[str, LayerInterference], theme: Theme, *, uirevision: str | None = None
) -> go.Figure:
    """`layers`: kind of layer → its numbers."""
    figure = blank("Interference of the task vectors", theme, height=420, uirevision=uirevision)
    figure.set_subplots(1, 2, subplot_titles=HALVES, horizontal_spacing=0.08)
    figure.update_annotations(font={"size": 12, "color": PALETTES[theme].muted})
    for index, (layer, of_layer) in enumerate(layers.items()):
        for column, values in enumerate((of_layer.interference, of_layer.conflict), start=1):
            figure.add_scatter(
                x=list(of_layer.blocks),
                y=list(values),
                mode="lines+markers",
                line={"color": series_colour(index, theme), "width": 2, "dash": DASHES[index % len(DASHES)]},
                marker={"symbol": SYMBOLS[index % len(SYMBOLS)], "size": 8},
                name=layer,
                legendgroup=layer,
                showlegend=column == 1,
                hovertemplate=f"<b>{layer}</b><br>block %{{x}}: %{{y:.4g}}<extra></extra>",
                uid=f"{layer} {column}",
                row=1,
                col=column,
            )
    conflicts = [value for one in layers.values() for value in one.conflict if math.isfinite(value)]
    low, high = min([CHANCE, *conflicts]), max([CHANCE, *conflicts])
    room = max(0.01, 0.1 * (high - low))
    right: Any = {"row": 1, "col": 2}  # plotly's stubs want words
    figure.add_hline(
        y=CHANCE,
        line={"color": PALETTES[theme].muted, "width": 1, "dash": "dot"},
        annotation={"text": "independent signs", "font": {"size": 11, "color": PALETTES[theme].muted}},
        annotation_position="top left",
        **right,
    )
    figure.update_layout(margin={"t": 72}, legend={"y": 0, "yref": "container", "yanchor": "bottom"})
    most = max((len(one.blocks) for one in layers.values()), default=1)
    figure.update_xaxes(title="block", dtick=max(1, math.ceil(most / 12)), ticks="")
    figure.update_yaxes(rangemode="tozero", col=1)
    figure.update_yaxes(range=[low - room, high + 2 * room], col=2)
    return figure

"""Feature drift by block: of every method on the left, of one method by its origin on the right."""

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from fda.figures.theme import DASHES, PALETTES, SYMBOLS, Theme, blank, series_colour

PARTS = ("drift", "inherited", "own")
TITLES = {"drift": "drift in all", "inherited": "inherited from below", "own": "this block's own"}


def drift_figure(
    blocks: Sequence[int],
    drifts: Mapping[str, Sequence[float]],
    parts: Mapping[str, Sequence[float]],
    theme: Theme,
    *,
    titles: Mapping[str, str],
    method: str,
    of: str,
    uirevision: str | None = None,
) -> go.Figure:
    """`drifts`: method → drift over the blocks. `parts`: member of PARTS → the same of the one `method`."""
    palette = PALETTES[theme]
    figure = blank(f"Feature drift from the experts, {of}", theme, height=470 + 8 * len(drifts), uirevision=uirevision)
    figure.set_subplots(
        1,
        2,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        subplot_titles=("every method", f"{titles[method]}, by origin"),
    )
    figure.update_annotations(font={"size": 12, "color": palette.muted})
    for index, (name, values) in enumerate(drifts.items()):
        reference = name == "pretrained"
        colour = palette.muted if reference else series_colour(index - ("pretrained" in drifts), theme)
        line = {"color": colour, "width": 2, "dash": "dot" if reference else DASHES[index % len(DASHES)]}
        _add(figure, 1, blocks, values, titles[name], line, SYMBOLS[index % len(SYMBOLS)])
    for index, part in enumerate(PARTS):
        line = {"color": (palette.ink, palette.muted, palette.accent)[index], "width": 2, "dash": DASHES[index]}
        _add(figure, 2, blocks, parts[part], TITLES[part], line, SYMBOLS[index])
    figure.update_layout(margin={"t": 72}, legend={"y": 0, "yref": "container", "yanchor": "bottom"})
    figure.update_xaxes(title="block", dtick=max(1, math.ceil(len(blocks) / 12)), ticks="")
    figure.update_yaxes(rangemode="tozero")
    figure.update_yaxes(title="share of the expert's ‖h‖²", col=1)
    return figure


def _add(
    figure: go.Figure, column: int, blocks: Sequence[int], values: Sequence[float], name: str, line: dict, symbol: str
) -> None:
    """A curve; in the second column its name stands at its end, in the first in the legend."""
    figure.add_scatter(
        x=list(blocks),
        y=list(values),
        mode="lines+markers" if column == 1 else "lines+markers+text",
        line=line,
        marker={"symbol": symbol, "size": 8},
        name=name,
        text=[*[""] * (len(blocks) - 1), name],
        textposition="top left" if len(blocks) > 1 else "middle right",
        textfont={"size": 11, "color": line["color"]},
        showlegend=column == 1,
        hovertemplate=f"<b>{name}</b><br>block %{{x}}: %{{y:.4f}}<extra></extra>",
        uid=f"{column} {name}",
        row=1,
        col=column,
    )

"""Maps of the disentanglement error of pairs of tasks over their coefficients, small multiples on one scale."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from fda.figures.theme import PALETTES, Theme, blank, sequential

MOST_MAPS = 10
COLUMNS = 5

Map = tuple[Sequence[float], Sequence[float], np.ndarray]  # α of the first task, α of the second, error (second, first)


def disentanglement_maps(
    maps: Mapping[tuple[str, str], Map], theme: Theme, *, of: str, uirevision: str | None = None
) -> go.Figure:
    """`maps`: pair of tasks → its map; NaN where a model gave no answers. A square marks α from 0 to 1."""
    palette = PALETTES[theme]
    columns = min(COLUMNS, max(1, len(maps)))
    rows = max(1, math.ceil(len(maps) / columns))
    figure = blank(f"Answers that the other task changes, {of}", theme, height=120 + 250 * rows, uirevision=uirevision)
    figure.set_subplots(
        rows,
        columns,
        horizontal_spacing=0.05,
        vertical_spacing=0.18,
        subplot_titles=[f"{first} × {second}" for first, second in maps],
    )
    figure.update_annotations(font={"size": 12, "color": palette.muted})
    for index, ((first, second), (across, up, error)) in enumerate(maps.items()):
        row, column = index // columns + 1, index % columns + 1
        figure.add_heatmap(
            x=list(across),
            y=list(up),
            z=error.astype(np.float32),
            coloraxis="coloraxis",
            hovertemplate=f"α of {first} %{{x}}, of {second} %{{y}}<br>%{{z:.1%}} of answers change<extra></extra>",
            hoverongaps=False,
            uid=f"{first} {second}",
            row=row,
            col=column,
        )
        figure.add_shape(
            type="rect", x0=0, x1=1, y0=0, y1=1, line={"color": palette.accent, "width": 2}, row=row, col=column
        )
        figure.update_xaxes(title=f"α of {first}", showgrid=False, row=row, col=column)
        figure.update_yaxes(title=f"α of {second}", showgrid=False, title_standoff=4, row=row, col=column)
    figure.update_layout(
        coloraxis={
            "colorscale": sequential(),
            "cmin": 0,
            "cmax": 1,
            "colorbar": {"thickness": 10, "outlinewidth": 0, "tickformat": ".0%"},
        },
        margin={"t": 72},
    )
    return figure

"""The figure of the memory that a run takes over time."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from fda.figures.theme import DASHES, Theme, blank, series_colour
from fda.measures import MEMORY

CURVES = {"device_bytes": "device", "memory_bytes": "process"}  # key of a reading → what has the memory
GIB = 2**30


def memory_curves(
    readings: Sequence[tuple[float, str, float]], theme: Theme, *, uirevision: str | None = None
) -> go.Figure:
    """GiB against seconds since the first reading. `readings`: (time in s, a key, bytes) by time; only `CURVES` are drawn."""
    figure = blank(MEMORY.heading, theme, height=260, uirevision=uirevision)
    start = readings[0][0] if readings else 0.0
    for index, (key, name) in enumerate(CURVES.items()):
        curve = [(time - start, value) for time, its_key, value in readings if its_key == key]
        if curve:
            times, values = np.array(curve, np.float32).T
            figure.add_scatter(
                x=times,
                y=values / np.float32(GIB),
                mode="lines",
                line={"width": 2, "color": series_colour(index, theme), "dash": DASHES[index]},
                name=name,
                showlegend=True,
                hovertemplate=f"{name}: %{{y:.2f}} GiB after %{{x:.0f}} s<extra></extra>",
                uid=key,
            )
    figure.update_xaxes(title="seconds")
    figure.update_yaxes(title=MEMORY.unit, rangemode="tozero", tickformat=".2f")
    figure.update_layout(legend={"y": -0.38})  # below the axis title of so low a figure
    return figure

"""The spectrum of one unit's anchors over steps (paper, figure 3)."""

import numpy as np
import plotly.graph_objects as go

from fda.figures.theme import Theme, blank, log_ticks, steps_colours, steps_scale
from fda.measures import SPECTRUM

CURVES = 24  # at most; more steps are thinned, the first and last kept
POINTS = 256  # longer spectra are thinned to every n-th value


def spectrum_curves(
    steps: np.ndarray, values: np.ndarray, theme: Theme, *, unit: str, uirevision: str | None = None
) -> go.Figure:
    """`values` (S, k): singular values over the largest, descending, at each of `steps` (S,).

    One curve per step, coloured from the first (dark, dotted) to the last (bright, thick); a single one has no colour bar.
    """
    chosen = np.unique(np.linspace(0, len(steps) - 1, min(CURVES, len(steps))).round().astype(int))
    stride = max(1, -(-values.shape[1] // POINTS))
    index = np.arange(0, values.shape[1], stride, dtype=np.int32)
    figure = blank(f"{SPECTRUM.heading}: {unit}", theme, height=400, uirevision=uirevision)
    colours = steps_colours(len(chosen), theme)
    for number, (at, colour) in enumerate(zip(chosen, colours, strict=True)):
        newest, oldest = number == len(chosen) - 1, number == 0 and len(chosen) > 1
        figure.add_scatter(
            x=index + 1,
            y=np.maximum(values[at, ::stride], 1e-8).astype(np.float32),
            mode="lines",
            line={"width": 3 if newest else 1.3, "color": colour, "dash": "dot" if oldest else "solid"},
            name=f"step {steps[at]}",
            showlegend=False,
            hovertemplate=f"<b>step {steps[at]}</b><br>singular value %{{x}}: %{{y:.3g}} of the largest<extra></extra>",
            uid=f"step {steps[at]}",
        )
    figure.add_scatter(
        x=[None],
        y=[None],
        mode="markers",
        marker={
            "color": [int(steps[0])],
            "cmin": int(steps[0]),
            "cmax": max(int(steps[-1]), int(steps[0]) + 1),
            "colorscale": steps_scale(theme),
            "showscale": len(chosen) > 1,
            "colorbar": {"title": {"text": "step", "side": "right"}, "thickness": 12, "outlinewidth": 0, "x": 1.0},
        },
        showlegend=False,
        hoverinfo="skip",
        uid="steps",
    )
    figure.update_xaxes(title="index of the singular value")
    decades = float(values.min()) < 1e-2
    figure.update_yaxes(title=SPECTRUM.unit, type="log", minor={"showgrid": False}, **log_ticks(fine=not decades))
    return figure

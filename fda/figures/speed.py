"""Figures of `python -m fda bench`: loss against seconds, seconds side by side, values against their limits."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from fda.figures.theme import DASHES, PALETTES, Theme, blank, log_ticks, series_colour
from fda.measures import ANGLE_LOSS

ROW_PIXELS = 38
POINTS = 400  # per curve


def loss_against_seconds(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    theme: Theme,
    *,
    target: float,
    title: str,
    uirevision: str | None = None,
) -> go.Figure:
    """`curves`: path → (seconds, angle loss) after each step, on log axes. `target`: the loss to reach."""
    figure = blank(title, theme, height=430, uirevision=uirevision)
    for index, (name, (seconds, losses)) in enumerate(curves.items()):
        chosen = np.unique(np.geomspace(1, len(seconds), POINTS).round().astype(int)) - 1 if len(seconds) else []
        figure.add_scatter(
            x=np.asarray(seconds, np.float32)[chosen],
            y=np.asarray(losses, np.float32)[chosen],
            mode="lines",
            line={"width": 2, "color": series_colour(index, theme), "dash": DASHES[index % len(DASHES)]},
            name=name,
            showlegend=True,
            hovertemplate=f"<b>{name}</b><br>angle loss %{{y:.4f}} after %{{x:.3g}} s<extra></extra>",
            uid=name,
        )
    palette = PALETTES[theme]
    figure.add_hline(y=target, line={"color": palette.ink, "width": 1.5, "dash": "2px,3px"})
    figure.add_annotation(  # Plotly places annotations on a log axis by the logarithm
        text=f"target {target:.4f}",
        font={"size": 11, "color": palette.ink},
        x=0,
        xref="paper",
        xanchor="left",
        y=float(np.log10(target)),
        yanchor="bottom",
        showarrow=False,
    )
    figure.update_xaxes(title="seconds, compiling included", type="log", exponentformat="none", **log_ticks(fine=False))
    figure.update_yaxes(title=ANGLE_LOSS.unit, type="log", exponentformat="none", **log_ticks())
    return figure


def seconds_bars(
    names: Sequence[str],
    seconds: Sequence[tuple[float, float, float]],
    theme: Theme,
    *,
    title: str,
    plain: Sequence[bool],
    uirevision: str | None = None,
) -> go.Figure:
    """A bar per implementation: the median of `seconds` (median, least, most) with a line from least to most.

    Bars of `plain` implementations are grey and hatched.
    """
    palette = PALETTES[theme]
    typical, low, high = (np.array(part, np.float32) for part in zip(*seconds, strict=True))
    figure = blank(title, theme, height=120 + ROW_PIXELS * len(names), uirevision=uirevision)
    figure.add_bar(
        y=list(names),
        x=typical,
        orientation="h",
        marker={
            "color": [palette.plain if is_plain else palette.accent for is_plain in plain],
            "pattern": {"shape": ["/" if is_plain else "" for is_plain in plain]},
        },
        error_x={
            "type": "data",
            "symmetric": False,
            "array": high - typical,
            "arrayminus": typical - low,
            "color": palette.ink,
            "thickness": 1.5,
        },
        text=[f"{value:.3g} s" for value in typical.tolist()],
        textposition="inside",
        insidetextanchor="start",
        customdata=np.stack([low, high], axis=1),
        hovertemplate="<b>%{y}</b><br>%{x:.3g} s, %{customdata[0]:.3g} to %{customdata[1]:.3g} s<extra></extra>",
        showlegend=False,
        uid="seconds",
    )
    figure.update_xaxes(title="seconds", rangemode="tozero")
    figure.update_yaxes(autorange="reversed", type="category", automargin=True)
    return figure


def limit_bars(
    names: Sequence[str],
    shares: Sequence[float],
    labels: Sequence[str],
    theme: Theme,
    *,
    title: str,
    uirevision: str | None = None,
) -> go.Figure:
    """Each measured value as a share of its limit; bars beyond 1 are hatched. `labels`: the values in words."""
    palette = PALETTES[theme]
    exceeded = [share > 1 for share in shares]
    figure = blank(title, theme, height=120 + ROW_PIXELS * len(names), uirevision=uirevision)
    figure.add_bar(
        y=list(names),
        x=np.array(shares, np.float32),
        orientation="h",
        marker={
            "color": [palette.low if beyond else palette.accent for beyond in exceeded],
            "pattern": {"shape": ["/" if beyond else "" for beyond in exceeded]},
        },
        customdata=list(labels),
        hovertemplate="<b>%{y}</b><br>%{customdata}<extra></extra>",
        showlegend=False,
        uid="share",
    )
    figure.add_scatter(
        y=list(names),
        x=np.full(len(names), max([1.0, *shares]) * 1.02, np.float32),
        text=list(labels),
        mode="text",
        textposition="middle right",
        textfont={"size": 11, "color": palette.ink},
        hoverinfo="skip",
        showlegend=False,
        cliponaxis=False,
        uid="labels",
    )
    figure.add_vline(x=1, line={"color": palette.ink, "width": 1.5, "dash": "2px,3px"})
    figure.update_xaxes(title="share of the limit", tickformat=".0%", range=[0, max([1.0, *shares]) * 1.45])
    figure.update_yaxes(autorange="reversed", type="category", automargin=True)
    return figure

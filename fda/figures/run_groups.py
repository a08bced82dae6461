"""Groups of runs in one figure: colour, dash and symbol identify the group; a band or line shows the range over its seeds."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from fda.escape import plotly
from fda.figures.bands import band
from fda.figures.theme import DASHES, SYMBOLS, Theme, blank, log_ticks, series_colour

Curves = tuple[np.ndarray, np.ndarray]  # (x (S,), a row per run (runs, S))


def group_curves(
    groups: Mapping[str, Curves | None],
    theme: Theme,
    *,
    title: str,
    x_title: str,
    y_title: str,
    uirevision: str | None = None,
) -> go.Figure:
    """The mean of each group over its runs on a log scale, and their range as a band."""
    figure = blank(title, theme, height=380, uirevision=uirevision)
    for index, (name, curves) in enumerate(groups.items()):
        if curves is None:
            continue
        x, rows = curves
        colour = series_colour(index, theme)
        if len(rows) > 1:
            low, high = np.nanmin(rows, 0), np.nanmax(rows, 0)
            figure.add_trace(band(x, low, high, colour, group=name, uid=f"range {name}"))
        figure.add_scatter(
            x=x,
            y=np.nanmean(rows, 0).astype(np.float32),
            mode="lines",
            line={"width": 2, "color": colour, "dash": DASHES[index % len(DASHES)]},
            name=plotly(name),
            legendgroup=name,
            hovertemplate=f"<b>{plotly(name)}</b><br>{x_title} %{{x}}: %{{y:.4f}}<extra></extra>",
            uid=f"mean {name}",
        )
    figure.update_layout(showlegend=True)
    figure.update_xaxes(title=x_title)
    figure.update_yaxes(title=y_title, type="log", minor={"showgrid": False}, **log_ticks())
    return figure


def group_scores(
    groups: Mapping[str, Mapping[str, Sequence[float]]],
    theme: Theme,
    *,
    titles: Mapping[str, str],
    of: str = "average accuracy",
    uirevision: str | None = None,
) -> go.Figure:
    """A row a method, a symbol a group at the mean over its runs, with a line over their range. Scores in 0..1."""
    methods = list(dict.fromkeys(method for averages in groups.values() for method in averages))
    figure = blank("Average by method", theme, height=150 + 34 * max(1, len(methods)), uirevision=uirevision)
    scored = [name for name, averages in groups.items() if averages]
    offsets = np.linspace(-0.28, 0.28, len(scored)) if len(scored) > 1 else np.zeros(len(scored))
    for index, (name, averages) in enumerate(groups.items()):
        if not averages:
            continue
        shown = [method for method in methods if averages.get(method)]
        values = [100 * np.array(averages[method]) for method in shown]
        mean = np.array([one.mean() for one in values])
        figure.add_scatter(
            x=mean,
            y=[methods.index(method) + offsets[scored.index(name)] for method in shown],
            error_x={
                "array": [one.max() - one.mean() for one in values],
                "arrayminus": [one.mean() - one.min() for one in values],
                "symmetric": False,
                "thickness": 1.4,
                "width": 4,
            },
            mode="markers",
            marker={"symbol": SYMBOLS[index % len(SYMBOLS)], "size": 9, "color": series_colour(index, theme)},
            name=plotly(name),
            customdata=[
                f"{plotly(titles.get(method, method))}: {', '.join(f'{value:.1f}' for value in one)}"
                for method, one in zip(shown, values, strict=True)
            ],
            hovertemplate=f"<b>{plotly(name)}</b><br>%{{customdata}} %<extra></extra>",
            uid=f"scores {name}",
        )
    figure.update_layout(showlegend=True)
    figure.update_xaxes(title=f"{of} (%)")
    figure.update_yaxes(
        tickvals=list(range(len(methods))),
        ticktext=[plotly(titles.get(method, method)) for method in methods],
        range=[len(methods) - 0.5, -0.5],
    )
    return figure

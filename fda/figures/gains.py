"""A dumbbell per task: the scores of two methods, joined by a line, with their difference and its interval."""

import math
from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from fda.analysis.scores import AVERAGE, Scores
from fda.escape import plotly
from fda.figures.kinds import Kind, kind_colour
from fda.figures.methods import SURE
from fda.figures.theme import PALETTES, Theme, blank, faint

ROW = 46  # pixels


def gain_dumbbells(
    scores: Scores,
    theme: Theme,
    *,
    baseline: str,
    method: str,
    titles: Mapping[str, str],
    kinds: Mapping[str, Kind],
    of: str = "accuracy",
    uirevision: str | None = None,
) -> go.Figure:
    """`scores` in 0..1, drawn in percent: a row per task, the average last. The interval is of 95 %, in points."""
    palette = PALETTES[theme]
    both = scores.only([baseline, method])
    first, second = 100 * both.table
    rows = [_row(both.minus(baseline), method, column) for column in both.columns]
    title = f"{of.capitalize()}: {titles[method]} beside {titles[baseline]}"
    figure = blank(plotly(title), theme, height=130 + ROW * len(rows), uirevision=uirevision)
    gap = np.full(len(rows), np.nan)
    figure.add_scatter(
        x=np.stack([first, second, gap], 1).ravel(),
        y=[row for row in rows for _ in range(3)],
        mode="lines",
        line={"width": 4, "color": faint(palette.muted, 0.5)},
        hoverinfo="skip",
        showlegend=False,
        uid="bars",
    )
    for name, values, others, symbol in ((baseline, first, second, "circle-open"), (method, second, first, "diamond")):
        left = (values < others) | ((values == others) & (name == baseline))
        figure.add_scatter(
            x=values,
            y=rows,
            mode="markers+text",
            text=[f"{value:.1f}" if math.isfinite(value) else "" for value in values],
            textposition=["middle left" if is_left else "middle right" for is_left in left],
            textfont={"size": 12, "color": palette.ink},
            marker={"symbol": symbol, "size": 12, "color": _colour(name, kinds, theme), "line": {"width": 2}},
            cliponaxis=False,
            name=plotly(titles[name]),
            hovertemplate=f"<b>{plotly(titles[name])}</b><br>%{{x:.1f}} %<extra></extra>",
            uid=name,
        )
    known = np.concatenate([first, second])
    known = known[np.isfinite(known)]
    low, high = known.min(initial=100.0), known.max(initial=0.0)
    room = 0.25 * max(high - low, 5.0)  # for the numbers
    figure.update_xaxes(title=f"{of} (%)", range=[low - room, high + room])
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=rows, range=[len(rows) - 0.5, -0.5])
    figure.update_yaxes(ticks="", showgrid=False)
    figure.add_hline(y=len(rows) - 1.5, line={"color": palette.muted, "width": 1})
    figure.update_layout(margin={"t": 74}, legend={"y": 1.0, "yanchor": "bottom"})
    return figure


def _row(differences: Scores, method: str, column: str) -> str:
    """The name of a row, and below it what the method adds there."""
    name = "average" if column == AVERAGE else column
    value = 100 * differences.of(method, column)
    if not math.isfinite(value):
        return f"<b>{plotly(name)}</b>"
    low, high = (100 * end for end in differences.interval_of(method, column))
    sure = SURE if low > 0 or high < 0 else ""
    interval = f" ({_signed(low)} to {_signed(high)})" if math.isfinite(low) else ""
    return f"<b>{plotly(name)}</b><br>{_signed(value)}{sure}{interval}"


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "−")


def _colour(method: str, kinds: Mapping[str, Kind], theme: Theme) -> str:
    kind = kinds[method]
    return PALETTES[theme].ink if kind in ("reference", "weights") else kind_colour(kind, theme)

"""Methods compared by their scores: bars with intervals, the table of scores as a map, differences to a baseline.

Scores come as `Scores` (0..1) and are drawn in percent; `titles` are what methods are called, `kinds` what they read.
"""

import math
from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from fda.analysis.scores import AVERAGE, Scores
from fda.figures.kinds import LOOKS, Kind, grouped, kind_colour
from fda.figures.theme import (
    PALETTES,
    SYMBOLS,
    Theme,
    add_cell_text,
    blank,
    diverging,
    faint,
    sequential,
    series_colour,
)

MANY = 14  # rows from which they are set closer
FILL = 0.6  # opacity of bars: whiskers and numbers in the ink of the page stand out from them in both themes
SURE = "*"  # marks a difference whose interval leaves out zero


def method_bars(
    scores: Scores,
    theme: Theme,
    *,
    titles: Mapping[str, str],
    kinds: Mapping[str, Kind],
    score: str = AVERAGE,
    of: str = "accuracy",
    baseline: str | None = None,
    cited: Mapping[str, float] | None = None,
    uirevision: str | None = None,
) -> go.Figure:
    """A bar a method with its 95 % interval, best first within what it reads; on the average, a marker for each task.

    `score`: the average or one task. `of`: what the scores are called. `cited`: others' averages as hollow markers. The
    level of `baseline` is a dotted line.
    """
    palette = PALETTES[theme]
    ranked = sorted(scores.methods, key=lambda method: _descending(scores.of(method, score)))
    groups = grouped(ranked, kinds)
    methods = [method for _, own in groups for method in own]
    rows = _rows(groups, titles)
    level = np.array([scores.of(method, score) for method in methods]) * 100
    low, high = np.array([scores.interval_of(method, score) for method in methods]).reshape(-1, 2).T * 100
    pitch = _pitch(len(methods))
    what = f"Average {of}" if score == AVERAGE else f"{of.capitalize()} on {score}"
    figure = blank(what, theme, height=130 + pitch * len(rows), uirevision=uirevision)
    names = [titles[method] for method in methods]
    figure.add_bar(
        x=level,
        y=names,
        orientation="h",
        marker={
            "color": [faint(kind_colour(kinds[method], theme), FILL) for method in methods],
            "pattern": {
                "shape": [LOOKS[kinds[method]].hatch for method in methods],
                "fgcolor": palette.page,
                "fgopacity": 0.35,
                "fillmode": "overlay",
                "size": 6,
            },
            "line": {"width": 0},
        },
        error_x={
            "array": high - level,
            "arrayminus": level - low,
            "symmetric": False,
            "color": palette.ink,
            "thickness": 1.2,
            "width": 3,
        },
        text=[f"{value:.1f}" if math.isfinite(value) else "" for value in level],
        textposition="inside",
        insidetextanchor="start",
        constraintext="none",
        textangle=0,
        textfont={"size": 11, "color": palette.ink},
        customdata=[_interval_text(*pair) for pair in zip(low, high, strict=True)],
        hovertemplate="<b>%{y}</b><br>%{x:.1f} % %{customdata}<extra></extra>",
        name="average" if score == AVERAGE else score,
        showlegend=False,
        uid="bars",
    )
    if score == AVERAGE:
        _add_tasks(figure, scores, methods, names, theme)
        _add_cited(figure, cited or {}, methods, names, theme)
    if baseline in scores.methods and math.isfinite(scores.of(baseline, score)):
        figure.add_vline(
            x=100 * scores.of(baseline, score), line={"color": palette.ink, "width": 1.2, "dash": "dot"}, layer="below"
        )
        figure.add_annotation(
            x=100 * scores.of(baseline, score),
            y=1,
            yref="paper",
            yanchor="bottom",
            text=titles[baseline],
            showarrow=False,
            font={"size": 11, "color": palette.muted},
        )
    figure.update_layout(bargap=0.26, margin={"t": 62}, legend={"y": 0, "yref": "paper", "yanchor": "top"})
    figure.update_layout(legend={"y": -56 / (pitch * len(rows))})
    top = np.nanmax([100.0, *high, *level]) if len(methods) else 100.0
    figure.update_xaxes(title=f"{of} (%)", range=[0, 1.01 * top])
    _headed(figure, rows)
    return figure


def score_map(
    scores: Scores,
    theme: Theme,
    *,
    titles: Mapping[str, str],
    kinds: Mapping[str, Kind],
    of: str = "accuracy",
    uirevision: str | None = None,
) -> go.Figure:
    """Methods × tasks, percent in each cell, and the average as the last column."""
    found = 100 * scores.table
    top = max(100.0, float(np.nanmax(found, initial=0.0)))
    return _map(
        f"{of.capitalize()} by method and task",
        scores,
        [[f"{value:.1f}" for value in row] for row in found],
        theme,
        titles=titles,
        kinds=kinds,
        unit="%",
        colours={"colorscale": sequential(), "zmin": floor(scores), "zmax": top},
        uirevision=uirevision,
    )


def difference_map(
    scores: Scores,
    theme: Theme,
    *,
    baseline: str,
    titles: Mapping[str, str],
    kinds: Mapping[str, Kind],
    of: str = "accuracy",
    uirevision: str | None = None,
) -> go.Figure:
    """Percentage points above (blue) or below (orange) the pinned baseline, for every other method and task.

    Bold with an asterisk: the 95 % interval of that difference leaves out zero.
    """
    others = [method for method in scores.methods if method != baseline]
    found = scores.minus(baseline).only(others)
    sure = found.surely_not_zero
    text = [
        [f"<b>{100 * value:+.1f}{SURE}</b>" if sure[row, column] else f"{100 * value:+.1f}" for column, value in enumerate(own)]
        for row, own in enumerate(found.table)
    ]  # fmt: skip
    bound = max(1.0, 100 * float(np.nanmax(np.abs(found.table), initial=0.0)))
    return _map(
        f"{of.capitalize()} above {titles[baseline]}",
        found,
        text,
        theme,
        titles=titles,
        kinds=kinds,
        unit="points",
        colours={"colorscale": diverging(theme), "zmin": -bound, "zmax": bound},
        uirevision=uirevision,
    )


def floor(scores: Scores) -> float:
    """The ten percent below the lowest score: a scale from 0 would make good methods look alike."""
    known = scores.table[np.isfinite(scores.table)]
    return 10 * math.floor(10 * float(known.min(initial=1.0)))


def _map(
    title: str,
    scores: Scores,
    text: list[list[str]],
    theme: Theme,
    *,
    titles: Mapping[str, str],
    kinds: Mapping[str, Kind],
    unit: str,
    colours: dict,
    uirevision: str | None,
) -> go.Figure:
    """A row of cells a method, beneath a heading for what it reads."""
    groups = grouped(scores.methods, kinds)
    rows, columns = _rows(groups, titles), list(scores.columns)
    places = {titles[method]: place for place, method in enumerate(scores.methods)}
    at = [places.get(row) for row in rows]
    gap = np.full(len(columns), np.nan)
    z = np.array([gap if place is None else 100 * scores.table[place] for place in at], np.float32)
    z = z.reshape(len(rows), len(columns))
    words = [[""] * len(columns) if place is None else text[place] for place in at]
    hover = [
        [""] * len(columns)
        if place is None
        else [_interval_text(*(100 * pair)) for pair in scores.intervals[place]]
        for place in at
    ]  # fmt: skip
    figure = blank(
        title, theme, height=110 + (_pitch(len(scores.methods)) + 2) * max(1, len(rows)), uirevision=uirevision
    )
    figure.add_heatmap(
        x=columns,
        y=rows,
        z=z,
        customdata=hover,
        hovertemplate=f"<b>%{{y}}</b><br>%{{x}}: %{{z:.1f}} {unit} %{{customdata}}<extra></extra>",
        hoverongaps=False,
        showscale=False,
        xgap=2,
        ygap=2,
        uid="cells",
        **colours,
    )
    low, high = colours["zmin"], colours["zmax"]
    add_cell_text(figure, columns, rows, words, (z - low) / max(high - low, 1e-9), colours["colorscale"])
    figure.add_vline(x=len(columns) - 1.5, line={"color": PALETTES[theme].ink, "width": 1.5})
    figure.update_xaxes(type="category", showgrid=False, ticks="", tickangle=-35 if len(columns) > 5 else 0)
    _headed(figure, rows)
    return figure


def _rows(groups: list[tuple[str, list[str]]], titles: Mapping[str, str]) -> list[str]:
    """The category axis from top to bottom: each heading as a row of its own, then its methods."""
    return [row for heading, own in groups for row in (f"<b>{heading}</b>", *(titles[method] for method in own))]


def _headed(figure: go.Figure, rows: list[str]) -> None:
    figure.update_yaxes(
        type="category",
        categoryorder="array",
        categoryarray=rows,
        range=[len(rows) - 0.5, -0.5],
        tickmode="array",
        tickvals=rows,
        ticks="",
        showgrid=False,
    )


def _add_tasks(figure: go.Figure, scores: Scores, methods: list[str], names: list[str], theme: Theme) -> None:
    for index, task in enumerate(scores.tasks):
        figure.add_scatter(
            x=[100 * scores.of(method, task) for method in methods],
            y=names,
            mode="markers",
            marker={
                "symbol": SYMBOLS[index % len(SYMBOLS)],
                "size": 8 if len(methods) > MANY else 9,
                "color": series_colour(index, theme),
                "line": {"width": 1, "color": PALETTES[theme].page},
            },
            name=task,
            hovertemplate=f"<b>%{{y}}</b><br>{task} %{{x:.1f}} %<extra></extra>",
            uid=task,
        )


def _add_cited(
    figure: go.Figure, cited: Mapping[str, float], methods: list[str], names: list[str], theme: Theme
) -> None:
    there = [(100 * cited[method], name) for method, name in zip(methods, names, strict=True) if method in cited]
    if there:
        figure.add_scatter(
            x=[value for value, _ in there],
            y=[name for _, name in there],
            mode="markers",
            marker={"symbol": "diamond-tall-open", "size": 13, "color": PALETTES[theme].ink, "line": {"width": 1.8}},
            name="cited average",
            hovertemplate="<b>%{y}</b><br>cited, not measured here: %{x:.1f} %<extra></extra>",
            uid="cited",
        )


def _descending(value: float) -> float:
    """A sorting key: best first, what has no number last."""
    return -value if math.isfinite(value) else math.inf


def _interval_text(low: float, high: float) -> str:
    return f"(95 %: {low:.1f} to {high:.1f})" if math.isfinite(low) else ""


def _pitch(rows: int) -> int:
    """Pixels of a row."""
    return 24 if rows > MANY else 34

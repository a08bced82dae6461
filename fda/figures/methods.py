"""Methods compared by their scores: bars with intervals, the table of scores as a map, differences to a baseline.

`Scores` are in 0..1 and drawn in percent. `titles` maps methods to display names, `kinds` to what they read.
"""

import math
from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from fda.analysis.scores import AVERAGE, Scores
from fda.figures.kinds import STYLES, Kind, grouped, kind_colour
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

MANY = 14  # with more rows, rows are set closer
FILL = 0.6  # opacity of bars: whiskers and numbers stand out from them in both themes
SURE = "*"  # marks a difference whose interval excludes zero


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
    """A bar per method with its 95 % interval, grouped by what methods read, best first; the average also marks each task.

    `score`: the average or one task. `of`: the name of the scores. `cited`: published averages, as hollow markers. A dotted
    line marks the score of `baseline`.
    """
    palette = PALETTES[theme]
    ranked = sorted(scores.methods, key=lambda method: _descending(scores.of(method, score)))
    groups = grouped(ranked, kinds)
    methods = [method for _, of_kind in groups for method in of_kind]
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
        alignmentgroup="averages",
        marker={
            "color": [faint(kind_colour(kinds[method], theme), FILL) for method in methods],
            "pattern": {
                "shape": [STYLES[kinds[method]].hatch for method in methods],
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
    """Methods × tasks, with percent in each cell; the last column is the average."""
    percent = 100 * scores.table
    top = max(100.0, float(np.nanmax(percent, initial=0.0)))
    return _map(
        f"{of.capitalize()} by method and task",
        scores,
        [[f"{value:.1f}" for value in row] for row in percent],
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
    """Percentage points above (blue) or below (orange) the baseline, for every other method and every task.

    Bold with an asterisk: the 95 % interval of the difference excludes zero.
    """
    compared = [method for method in scores.methods if method != baseline]
    differences = scores.minus(baseline).only(compared)
    text = [
        [
            f"<b>{100 * value:+.1f}{SURE}</b>" if clear else f"{100 * value:+.1f}"
            for value, clear in zip(*row, strict=True)
        ]
        for row in zip(differences.table, differences.surely_not_zero, strict=True)
    ]
    bound = max(1.0, 100 * float(np.nanmax(np.abs(differences.table), initial=0.0)))
    return _map(
        f"{of.capitalize()} above {titles[baseline]}",
        differences,
        text,
        theme,
        titles=titles,
        kinds=kinds,
        unit="points",
        colours={"colorscale": diverging(theme), "zmin": -bound, "zmax": bound},
        uirevision=uirevision,
    )


def floor(scores: Scores) -> float:
    """The lowest score rounded down to ten percent: on a scale from 0 good methods would look alike."""
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
    """A heatmap with a row per method, grouped under headings by what methods read."""
    groups = grouped(scores.methods, kinds)
    rows, columns = _rows(groups, titles), list(scores.columns)
    indices = {titles[method]: index for index, method in enumerate(scores.methods)}
    at = [indices.get(row) for row in rows]
    gap = np.full(len(columns), np.nan)
    z = np.array([gap if index is None else 100 * scores.table[index] for index in at], np.float32)
    z = z.reshape(len(rows), len(columns))
    words = [[""] * len(columns) if index is None else text[index] for index in at]
    hover = [
        [""] * len(columns)
        if index is None
        else [_interval_text(*(100 * pair)) for pair in scores.intervals[index]]
        for index in at
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
    figure.update_xaxes(type="category", side="top", showgrid=False, ticks="", tickangle=-35 if len(columns) > 5 else 0)
    _headed(figure, rows)
    return figure


def _rows(groups: list[tuple[str, list[str]]], titles: Mapping[str, str]) -> list[str]:
    """The category axis from top to bottom: each heading as a row, then its methods."""
    return [
        row for heading, methods in groups for row in (f"<b>{heading}</b>", *(titles[method] for method in methods))
    ]


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
    """A marker a task on each bar, a little below the last task's, so that equal scores do not hide each other."""
    figure.update_layout(scattermode="group", scattergap=0.45)
    for index, task in enumerate(scores.tasks):
        figure.add_scatter(
            x=[100 * scores.of(method, task) for method in methods],
            y=names,
            orientation="h",
            alignmentgroup="tasks",
            offsetgroup=task,
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
    averages = [(100 * cited[method], name) for method, name in zip(methods, names, strict=True) if method in cited]
    if averages:
        figure.add_scatter(
            x=[value for value, _ in averages],
            y=[name for _, name in averages],
            mode="markers",
            marker={"symbol": "diamond-tall-open", "size": 13, "color": PALETTES[theme].ink, "line": {"width": 1.8}},
            name="cited average",
            hovertemplate="<b>%{y}</b><br>cited, not measured here: %{x:.1f} %<extra></extra>",
            uid="cited",
        )


def _descending(value: float) -> float:
    """Sorting key: best first, missing scores last."""
    return -value if math.isfinite(value) else math.inf


def _interval_text(low: float, high: float) -> str:
    return f"(95 %: {low:.1f} to {high:.1f})" if math.isfinite(low) else ""


def _pitch(rows: int) -> int:
    """Height of a row in pixels."""
    return 24 if rows > MANY else 34

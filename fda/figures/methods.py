"""Methods compared: bars of the average with every task beside it, the table of accuracies, and differences to a baseline."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from fda.figures.look import PALETTES, SYMBOLS, Theme, add_cell_text, blank, diverging, sequential, series_colour

Accuracies = Mapping[str, Mapping[str, float]]  # method → task → 0..1
ROW_PIXELS = 38


def method_bars(
    accuracies: Accuracies,
    theme: Theme,
    *,
    tasks: Sequence[str],
    titles: Mapping[str, str],
    baseline: str | None = None,
    uirevision: str | None = None,
) -> go.Figure:
    """A bar a method: its average over tasks, with a marker for each task. Bars of FDA are hatched, not only coloured."""
    palette = PALETTES[theme]
    methods = list(accuracies)
    means = [average(accuracies[method], tasks) for method in methods]
    ours = [method.startswith("fda:") for method in methods]
    figure = blank("Average accuracy of each method", theme, height=120 + 42 * len(methods), uirevision=uirevision)
    figure.add_bar(
        x=[mean * 100 for mean in means],
        y=[titles.get(method, method) for method in methods],
        orientation="h",
        marker={
            "color": [palette.accent if own else palette.plain for own in ours],
            "pattern": {
                "shape": ["/" if own else "" for own in ours],
                "fgcolor": palette.page,
                "fgopacity": 0.3,
                "fillmode": "overlay",
                "size": 6,
            },
            "line": {"width": 0},
        },
        text=[f"{mean:.1%}" for mean in means],
        textposition="inside",
        insidetextanchor="start",
        textfont={"size": 13, "color": [palette.page if own else palette.ink for own in ours]},
        hovertemplate="<b>%{y}</b><br>average over tasks %{x:.1f} %<extra></extra>",
        name="average",
        showlegend=False,
        uid="average",
    )
    for index, task in enumerate(tasks):
        figure.add_scatter(
            x=[accuracies[method].get(task, math.nan) * 100 for method in methods],
            y=[titles.get(method, method) for method in methods],
            mode="markers",
            marker={
                "symbol": SYMBOLS[index % len(SYMBOLS)],
                "size": 9,
                "color": series_colour(index, theme),
                "line": {"width": 1, "color": palette.page},
            },
            name=task,
            hovertemplate=f"<b>%{{y}}</b><br>{task} %{{x:.1f}} %<extra></extra>",
            uid=task,
        )
    if baseline in accuracies:
        level = average(accuracies[baseline], tasks) * 100
        figure.add_vline(
            x=level,
            line={"color": palette.ink, "width": 1.5, "dash": "dot"},
            annotation={
                "text": f"{titles.get(baseline, baseline)}",
                "font": {"size": 11},
                "y": 1.0,
                "yanchor": "bottom",
            },
        )
    figure.update_layout(bargap=0.35, margin={"t": 62}, legend={"y": -0.16})
    figure.update_xaxes(title="accuracy (%)", range=[0, 101])
    figure.update_yaxes(autorange="reversed", type="category", ticks="", showgrid=False)
    return figure


def accuracy_map(
    accuracies: Accuracies,
    theme: Theme,
    *,
    tasks: Sequence[str],
    titles: Mapping[str, str],
    uirevision: str | None = None,
) -> go.Figure:
    """Methods × tasks, percent in each cell, and the average as the last column."""
    rows = [
        [100 * accuracies[method].get(task, math.nan) for task in tasks] + [100 * average(accuracies[method], tasks)]
        for method in accuracies
    ]
    return _map(
        "Accuracy by method and task",
        np.array(rows, np.float32),
        [*tasks, "average"],
        [titles.get(method, method) for method in accuracies],
        theme,
        number=".1f",
        unit="%",
        colours={"colorscale": sequential(), "zmin": _floor(rows), "zmax": 100},
        uirevision=uirevision,
    )


def difference_map(
    accuracies: Accuracies,
    theme: Theme,
    *,
    tasks: Sequence[str],
    titles: Mapping[str, str],
    baseline: str,
    uirevision: str | None = None,
) -> go.Figure:
    """Percentage points above (blue) or below (orange) the pinned baseline, for every other method and task."""
    own = accuracies[baseline]
    others = [method for method in accuracies if method != baseline]
    mean = average(own, tasks)
    rows = [
        [100 * (accuracies[method].get(task, math.nan) - own.get(task, math.nan)) for task in tasks]
        + [100 * (average(accuracies[method], tasks) - mean)]
        for method in others
    ]
    z = np.array(rows, np.float32).reshape(len(others), len(tasks) + 1)
    bound = max(1.0, float(np.nanmax(np.abs(z), initial=0.0)))
    return _map(
        f"Difference to {titles.get(baseline, baseline)}",
        z,
        [*tasks, "average"],
        [titles.get(method, method) for method in others],
        theme,
        number="+.1f",
        unit="points",
        colours={"colorscale": diverging(theme), "zmin": -bound, "zmax": bound},
        uirevision=uirevision,
    )


def average(accuracy: Mapping[str, float], tasks: Sequence[str]) -> float:
    """The mean over all of `tasks`; NaN if one is missing, so that no average hides a gap."""
    return sum(accuracy.get(task, math.nan) for task in tasks) / max(1, len(tasks))


def _floor(rows: list[list[float]]) -> float:
    """The ten below the lowest number: a scale from 0 would make good methods look alike."""
    known = [value for row in rows for value in row if not math.isnan(value)]
    return 10 * math.floor(min(known, default=0.0) / 10)


def _map(
    title: str,
    z: np.ndarray,
    columns: list[str],
    rows: list[str],
    theme: Theme,
    *,
    number: str,
    unit: str,
    colours: dict,
    uirevision: str | None,
) -> go.Figure:
    figure = blank(title, theme, height=130 + ROW_PIXELS * max(1, len(rows)), uirevision=uirevision)
    figure.add_heatmap(
        x=columns,
        y=rows,
        z=z,
        hovertemplate=f"<b>%{{y}}</b><br>%{{x}}: %{{z:{number}}} {unit}<extra></extra>",
        showscale=False,
        xgap=2,
        ygap=2,
        **colours,
    )
    low, high = colours["zmin"], colours["zmax"]
    text = [[f"{value:{number}}" for value in row] for row in z]
    add_cell_text(figure, columns, rows, text, (z - low) / (high - low), colours["colorscale"])
    figure.add_vline(x=len(columns) - 1.5, line={"color": PALETTES[theme].ink, "width": 1.5})
    figure.update_xaxes(type="category", showgrid=False, ticks="", tickangle=-35 if len(columns) > 5 else 0)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False, ticks="")
    return figure

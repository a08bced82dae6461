"""What merged updates keep of the task vectors: how often each part is counted, and whether alignment goes with scores."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from fda.figures.kinds import STYLES, Kind, kind_colour
from fda.figures.labels import Window, place_labels
from fda.figures.theme import PALETTES, Theme, add_cell_text, blank, diverging, faint

ROW_PIXELS = 44
MOST_COUNTED = 3.0  # where the colours end: what is counted more often looks like it


def accumulation_map(
    counted: np.ndarray, theme: Theme, *, tasks: Sequence[str], of: str, uirevision: str | None = None
) -> go.Figure:
    """`counted` (tasks, ranks): how often the update holds each task's part along its singular vectors; NaN for none."""
    figure = blank(
        f"How often {of} counts each task", theme, height=150 + ROW_PIXELS * len(tasks), uirevision=uirevision
    )
    ranks = [str(rank + 1) for rank in range(counted.shape[1])]
    bound = min(MOST_COUNTED, 1 + max(0.5, float(np.nanmax(np.abs(counted - 1), initial=0.0)))) - 1
    figure.add_heatmap(
        x=ranks,
        y=list(tasks),
        z=counted.astype(np.float32),
        zmin=1 - bound,
        zmid=1,
        zmax=1 + bound,
        colorscale=diverging(theme),
        colorbar={"thickness": 10, "outlinewidth": 0, "tickvals": [1 - bound, 1, 1 + bound], "tickformat": ".2g"},
        hovertemplate="<b>%{y}</b>, singular vector %{x}<br>counted %{z:.2f} times<extra></extra>",
        hoverongaps=False,
        xgap=2,
        ygap=2,
    )
    at = (counted - (1 - bound)) / (2 * bound)
    text = [["" if math.isnan(value) else f"{value:.1f}" for value in row] for row in counted]
    add_cell_text(figure, ranks, tasks, text, at, diverging(theme))
    figure.update_xaxes(title="singular vector of the merged update, largest first", type="category", showgrid=False)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False, ticks="")
    return figure


@dataclass(frozen=True)
class Aligned:
    """One method: SAR and NAI of each of the `tasks`, NaN where undefined, and their means."""

    tasks: Sequence[str]
    alignment: Sequence[float]
    improvement: Sequence[float]
    mean: tuple[float, float]


def alignment_scatter(
    methods: Mapping[str, Aligned],
    theme: Theme,
    *,
    titles: Mapping[str, str],
    kinds: Mapping[str, Kind],
    uirevision: str | None = None,
) -> go.Figure:
    """A large labelled mark a method, the mean over tasks, and a small one each task."""
    palette = PALETTES[theme]
    figure = blank("Improvement against subspace alignment", theme, height=520, uirevision=uirevision)
    window = _window(methods)
    means = {method: aligned.mean for method, aligned in methods.items() if all(map(math.isfinite, aligned.mean))}
    labels = place_labels(means, dict.fromkeys(means, (math.nan, math.nan)), titles, window)
    for kind, style in STYLES.items():
        of_kind = {method: aligned for method, aligned in methods.items() if kinds[method] == kind}
        if not of_kind:
            continue
        colour = palette.muted if kind == "weights" else kind_colour(kind, theme)
        points = [
            (titles[method], task, x, y)
            for method, aligned in of_kind.items()
            for task, x, y in zip(aligned.tasks, aligned.alignment, aligned.improvement, strict=True)
        ]
        figure.add_scatter(
            x=[x for _, _, x, _ in points],
            y=[y for _, _, _, y in points],
            mode="markers",
            marker={"symbol": style.symbol, "size": 6, "color": faint(colour, 0.45)},
            customdata=[(title, task) for title, task, _, _ in points],
            hovertemplate="<b>%{customdata[0]}</b> on %{customdata[1]}<br>SAR %{x:.3f}, NAI %{y:.3f}<extra></extra>",
            showlegend=False,
            legendgroup=kind,
            uid=f"{kind} tasks",
        )
        figure.add_scatter(
            x=[aligned.mean[0] for aligned in of_kind.values()],
            y=[aligned.mean[1] for aligned in of_kind.values()],
            mode="markers+text",
            marker={"symbol": style.symbol, "size": 13, "color": colour, "line": {"width": 1.5, "color": palette.page}},
            text=[titles[method] if method in labels else "" for method in of_kind],
            textposition=[labels.get(method, "middle right") for method in of_kind],
            customdata=[titles[method] for method in of_kind],
            textfont={"size": 11, "color": palette.ink},
            hovertemplate="<b>%{customdata}</b>, mean over tasks<br>SAR %{x:.3f}, NAI %{y:.3f}<extra></extra>",
            name=style.heading.lower(),
            legendgroup=kind,
            uid=kind,
        )
    for level, word in ((0.0, "pretrained"), (1.0, "individual")):
        figure.add_hline(
            y=level,
            line={"color": palette.muted, "width": 1, "dash": "dot"},
            annotation={"text": word, "font": {"size": 11, "color": palette.muted}},
            annotation_position="top left",
        )
    figure.update_layout(legend={"y": 0, "yref": "container", "yanchor": "bottom"})
    figure.update_xaxes(title="subspace alignment ratio (SAR)", range=list(window.across))
    figure.update_yaxes(title="normalised accuracy improvement (NAI)", range=list(window.up))
    return figure


def _window(methods: Mapping[str, Aligned]) -> Window:
    """The ranges that hold every mark and both references, with room for names."""
    x = [value for aligned in methods.values() for value in aligned.alignment if math.isfinite(value)] or [0.0, 1.0]
    y = [value for aligned in methods.values() for value in aligned.improvement if math.isfinite(value)]
    wide, low, high = max(max(x) - min(x), 0.02), min([0.0, *y]), max([1.0, *y])
    room = 0.08 * (high - low)
    return Window((min(x) - 0.06 * wide, max(x) + 0.14 * wide), (low - room, high + room), log=False)

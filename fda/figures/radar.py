"""Radar of methods over tasks: which tasks each method keeps or loses."""

from collections.abc import Mapping

import plotly.graph_objects as go

from fda.analysis.scores import Scores
from fda.figures.methods import floor
from fda.figures.theme import DASHES, PALETTES, SYMBOLS, Theme, blank, faint, series_colour

LEAST_TASKS = 3  # two directions enclose no area
MOST_METHODS = 8  # by default: more lines are indistinguishable
REFERENCES = {"individual": ("ink", "solid"), "pretrained": ("muted", "dot")}


def radar(
    scores: Scores, theme: Theme, *, titles: Mapping[str, str], of: str = "accuracy", uirevision: str | None = None
) -> go.Figure:
    """One closed line per method, in percent, with its own colour, dash and symbol; references have no symbol.

    The centre is the lowest score rounded down to ten percent, not 0.
    """
    palette = PALETTES[theme]
    figure = blank(f"{of.capitalize()} on each task", theme, height=560, uirevision=uirevision)
    around = [*scores.tasks, scores.tasks[0]]
    index = 0
    for method in scores.methods:
        values = [100 * scores.of(method, task) for task in around]
        if method in REFERENCES:
            name, dash = REFERENCES[method]
            style = {"mode": "lines", "line": {"color": getattr(palette, name), "width": 1.6, "dash": dash}}
        else:
            colour = series_colour(index, theme)
            style = {
                "mode": "lines+markers",
                "line": {"color": colour, "width": 2, "dash": DASHES[index % len(DASHES)]},
                "marker": {"symbol": SYMBOLS[index % len(SYMBOLS)], "size": 8, "color": colour},
            }
            index += 1
        figure.add_scatterpolar(
            r=values,
            theta=around,
            name=titles[method],
            hovertemplate=f"<b>{titles[method]}</b><br>%{{theta}} %{{r:.1f}} %<extra></extra>",
            uid=method,
            **style,
        )
    low = floor(scores)
    top = max([100.0, *(100 * scores.table[scores.table == scores.table]).tolist()])
    lines = {"gridcolor": palette.grid, "linecolor": faint(palette.muted, 0.4)}
    figure.update_layout(
        margin={"l": 48, "r": 48, "t": 64, "b": 8},
        legend={"y": -0.08},
        polar={
            "bgcolor": "rgba(0,0,0,0)",
            "angularaxis": lines | {"direction": "clockwise", "rotation": 90, "tickfont": {"size": 13}},
            "radialaxis": lines
            | {
                "range": [low, top],
                "ticksuffix": " %",
                "nticks": 6,
                "angle": 90,
                "tickangle": 90,
                "tickfont": {"size": 10, "color": palette.muted},
            },
        },
    )
    return figure

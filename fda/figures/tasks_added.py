"""Normalised accuracy by the number of merged tasks, a curve for each method, its name at its end."""

from collections.abc import Mapping

import plotly.graph_objects as go

from fda.figures.theme import DASHES, PALETTES, SYMBOLS, Theme, blank, series_colour


def tasks_added_figure(
    kept: Mapping[str, Mapping[int, float]],
    theme: Theme,
    *,
    titles: Mapping[str, str],
    uirevision: str | None = None,
) -> go.Figure:
    """`kept`: method → number of merged tasks → mean share of the expert's score."""
    palette = PALETTES[theme]
    figure = blank("Share of the experts' scores as tasks are added", theme, height=480, uirevision=uirevision)
    for index, (method, values) in enumerate(kept.items()):
        reference = method == "pretrained"
        colour = palette.muted if reference else series_colour(index, theme)
        figure.add_scatter(
            x=list(values),
            y=list(values.values()),
            mode="lines+markers",
            line={"color": colour, "width": 2, "dash": "dot" if reference else DASHES[index % len(DASHES)]},
            marker={"symbol": SYMBOLS[index % len(SYMBOLS)], "size": 8},
            name=titles[method],
            hovertemplate=f"<b>{titles[method]}</b><br>%{{x}} tasks: %{{y:.1%}}<extra></extra>",
            uid=method,
        )
    figure.add_hline(
        y=1.0,
        line={"color": palette.muted, "width": 1, "dash": "dot"},
        annotation={"text": "experts", "font": {"size": 11, "color": palette.muted}},
        annotation_position="top left",
    )
    figure.update_layout(legend={"y": 0, "yref": "container", "yanchor": "bottom"})
    figure.update_xaxes(title="merged tasks", dtick=1)
    figure.update_yaxes(title="mean of score / expert's score", tickformat=".0%")
    return figure

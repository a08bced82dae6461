"""Figures of the Mixer: mixes side by side, the trace of a search, and the trail of mixes over the loss plane."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import plotly.graph_objects as go

from fda.analysis.grid import refined
from fda.escape import plotly
from fda.figures.theme import PALETTES, SYMBOLS, Theme, blank, faint, sequential, series_colour
from fda.store.landscape_record import LandscapeMap, LandscapeNumbers

AVERAGE = "average"
CASING = "#101820"
HATCHES = ("", "/", "x", ".")  # of the mixes side by side, beside their colours


class Point(Protocol):
    """A model on the plane: `a`, `b`, and its `distance` from it, in units of ‖Σ τi‖."""

    @property
    def a(self) -> float: ...
    @property
    def b(self) -> float: ...
    @property
    def distance(self) -> float: ...


@dataclass(frozen=True, eq=False)
class Ground:
    """The scored plane of a landscape run."""

    plane: LandscapeMap
    numbers: LandscapeNumbers


def mixes_bars(
    mixes: Mapping[str, Mapping[str, float]],
    theme: Theme,
    *,
    experts: Mapping[str, float] | None = None,
    uirevision: str | None = None,
) -> go.Figure:
    """Bars of each task and the average, a mix beside the next. `mixes`: name → task → score, 0..1; `experts`: as one mix."""
    palette = PALETTES[theme]
    figure = blank("Mixes side by side", theme, height=330, uirevision=uirevision)
    tasks = list(dict.fromkeys(task for scores in mixes.values() for task in scores))
    columns = [*map(plotly, tasks), AVERAGE]
    for index, (name, scores) in enumerate(mixes.items()):
        values = [scores.get(task, np.nan) for task in tasks]
        level = [100 * value for value in (*values, np.nanmean(values))]
        figure.add_bar(
            x=columns,
            y=level,
            name=plotly(name),
            marker={
                "color": faint(series_colour(index, theme), 0.75),
                "pattern": {
                    "shape": HATCHES[index % len(HATCHES)],
                    "fgcolor": palette.page,
                    "fgopacity": 0.35,
                    "fillmode": "overlay",
                    "size": 6,
                },
            },
            text=[f"{value:.1f}" for value in level],
            textposition="inside",
            insidetextanchor="start",
            textangle=0,
            textfont={"size": 11, "color": palette.ink},
            hovertemplate=f"<b>{plotly(name)}</b><br>%{{x}}: %{{y:.1f}} %<extra></extra>",
            uid=name,
        )
    if experts:
        values = [experts.get(task, np.nan) for task in tasks]
        figure.add_scatter(
            x=columns,
            y=[100 * value for value in (*values, np.nanmean(values))],
            mode="markers",
            name="expert",
            marker={"symbol": "diamond-open", "size": 11, "color": palette.ink, "line": {"width": 1.6}},
            hovertemplate="expert, %{x}: %{y:.1f} %<extra></extra>",
            uid="experts",
        )
    figure.update_yaxes(title="accuracy on validation samples (%)", range=[0, 101])
    figure.update_layout(barmode="group", bargap=0.25, legend={"y": -0.12})
    return figure


def search_trace(values: Sequence[float], theme: Theme, *, goal: str, uirevision: str | None = None) -> go.Figure:
    """The goal of each evaluation of a search (in percent), and the best so far as steps."""
    palette = PALETTES[theme]
    figure = blank(f"Search: {goal} by evaluation", theme, height=260, uirevision=uirevision)
    at = np.arange(1, len(values) + 1)
    figure.add_scatter(
        x=at,
        y=np.array(values, float),
        mode="markers",
        marker={"size": 7, "color": palette.muted, "symbol": SYMBOLS[0]},
        name="evaluated",
        hovertemplate="evaluation %{x}: %{y:.1f} %<extra></extra>",
        uid="evaluated",
    )
    figure.add_scatter(
        x=at,
        y=np.maximum.accumulate(np.array(values, float)) if len(values) else [],
        mode="lines",
        line={"width": 2.5, "color": palette.accent, "shape": "hv"},
        name="best so far",
        hovertemplate="best of %{x}: %{y:.1f} %<extra></extra>",
        uid="best",
    )
    figure.update_xaxes(title="evaluation", rangemode="tozero")
    figure.update_yaxes(title=f"{goal} (%)")
    figure.update_layout(legend={"y": -0.3})
    return figure


def mix_plane(
    trail: Sequence[Point],
    experts: Mapping[str, Point | None],
    total: Point,
    theme: Theme,
    *,
    ground: Ground | None = None,
    uirevision: str | None = None,
) -> go.Figure:
    """Where mixes lie on a plane of weights through θ0, in units of ‖Σ τi‖: the last of `trail` with the path to it.

    `experts`: task → its finetuned model, if it is known; `total`: θ0 + Σ τi. `ground`: the losses of a landscape run, if the
    plane is that of one.
    """
    title = "The mix on the loss plane (dark: low loss)" if ground is not None else "The mix on a plane of weights"
    figure = blank(title, theme, height=360, uirevision=uirevision)
    palette = PALETTES[theme]
    line, casing = ("#ffffff", CASING) if ground is not None else (palette.ink, palette.page)
    if ground is not None:
        _add_ground(figure, ground)
    _add_experts(figure, experts, line)
    _add_ends(figure, total, line, casing)
    at = [(one.a, one.b) for one in trail]
    for width, colour, uid in ((4, casing, "trail casing"), (1.5, line, "trail")):
        figure.add_scatter(
            x=[a for a, _ in at],
            y=[b for _, b in at],
            mode="lines",
            line={"width": width, "color": colour},
            opacity=0.8,
            hoverinfo="skip",
            showlegend=False,
            uid=uid,
        )
    now = trail[-1]
    figure.add_scatter(
        x=[now.a],
        y=[now.b],
        mode="markers",
        marker={"size": 17, "symbol": "circle", "color": palette.accent, "line": {"width": 3, "color": line}},
        hovertemplate=f"<b>this mix</b><br>a %{{x:.2f}}, b %{{y:.2f}}<br>{now.distance:.2f} off the plane<extra></extra>",
        showlegend=False,
        uid="now",
    )
    figure.update_xaxes(title="a, in ‖Σ τᵢ‖", showgrid=ground is None)
    figure.update_yaxes(title="b, in ‖Σ τᵢ‖", showgrid=ground is None)
    figure.update_layout(legend={"y": -0.16})
    if ground is not None:
        figure.update_xaxes(range=[ground.plane.a[0], ground.plane.a[-1]])
        figure.update_yaxes(range=[ground.plane.b[0], ground.plane.b[-1]])
    return figure


def _add_ground(figure: go.Figure, ground: Ground) -> None:
    """Filled contours of the logarithm of the loss."""
    z = np.log10(np.maximum(refined(ground.numbers.grid["loss"]), 1e-6))
    figure.add_contour(
        x=np.asarray(ground.plane.a, np.float32),
        y=np.asarray(ground.plane.b, np.float32),
        z=z.astype(np.float32),
        customdata=(10**z).astype(np.float32),
        hovertemplate="a %{x:.2f}, b %{y:.2f}<br>loss %{customdata:.3f}<extra></extra>",
        colorscale=sequential(),
        contours={"coloring": "fill"},
        ncontours=14,
        line={"width": 0.5, "color": "rgba(255,255,255,0.35)"},
        showscale=False,
        name="loss",
        uid="ground",
    )


def _add_experts(figure: go.Figure, experts: Mapping[str, Point | None], line: str) -> None:
    """The finetuned models, in the colours that their tasks have elsewhere."""
    for index, (task, one) in enumerate(experts.items()):
        if one is None:
            continue
        figure.add_scatter(
            x=[one.a],
            y=[one.b],
            mode="markers",
            marker={
                "size": 11,
                "symbol": SYMBOLS[index % len(SYMBOLS)],
                "color": series_colour(index, "light"),
                "line": {"width": 2, "color": line},
            },
            hovertemplate=f"finetuned on {plotly(task)}<extra></extra>",
            name=f"θ({plotly(task)})",
            uid=f"expert {task}",
        )


def _add_ends(figure: go.Figure, total: Point, line: str, casing: str) -> None:
    """θ0 and the sum of all task vectors."""
    marks = {"θ₀": (0.0, 0.0), "θ₀ + Σ τ": (total.a, total.b)}
    figure.add_scatter(
        x=[a for a, _ in marks.values()],
        y=[b for _, b in marks.values()],
        mode="markers+text",
        text=list(marks),
        textposition="top center",
        textfont={"size": 11, "color": line, "shadow": f"0 0 2px {casing}, 0 0 3px {casing}"},
        marker={
            "size": 9,
            "symbol": ["circle", "star"],
            "color": line,
            "line": {"width": 1.5, "color": casing},
        },
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
        cliponaxis=False,
        uid="marks",
    )

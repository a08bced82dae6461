"""Score of each method against its cost: seconds or peak memory on the x axis, score on the y axis."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import plotly.graph_objects as go

from fda.analysis.scores import AVERAGE, Scores
from fda.figures.kinds import STYLES, Kind, kind_colour
from fda.figures.labels import Window, place_labels
from fda.figures.theme import PALETTES, Theme, blank, log_ticks

CostAxis = Literal["seconds", "peak memory"]
LEAST_SECONDS = 1e-3  # a log axis has no 0
REFERENCES = ("pretrained", "individual")  # they merge nothing and cost nothing, so they are levels, not points


@dataclass(frozen=True)
class Cost:
    """Cost of one merge: `seconds` of the method itself, `peak_bytes` of memory, and `anchors_seconds` to construct the
    anchors that it reads (None: it reads none, or the time is unknown)."""

    seconds: float | None
    peak_bytes: float | None
    anchors_seconds: float | None = None

    def on(self, axis: CostAxis) -> float | None:
        """Seconds including the anchors', or MiB; None if unknown."""
        if axis == "peak memory":
            return None if self.peak_bytes is None else self.peak_bytes / 2**20
        return None if self.seconds is None else max(self.seconds + (self.anchors_seconds or 0), LEAST_SECONDS)


@dataclass(frozen=True)
class _Point:
    """One method's cost, score and interval ends; scores in percent."""

    x: float
    y: float
    low: float
    high: float


def cost_figure(
    scores: Scores,
    costs: Mapping[str, Cost],
    theme: Theme,
    *,
    axis: CostAxis,
    titles: Mapping[str, str],
    kinds: Mapping[str, Kind],
    score: str = AVERAGE,
    of: str = "accuracy",
    uirevision: str | None = None,
) -> go.Figure:
    """One point per method with its 95 % interval; the references are dotted levels.

    A light line joins the Pareto front of the methods that read no real inputs. An open symbol means that the anchors'
    cost is unknown, so the point lies too far left.
    """
    palette = PALETTES[theme]
    on = "" if score == AVERAGE else f" on {score}"
    figure = blank(f"{of.capitalize()}{on} against {axis}", theme, height=540, uirevision=uirevision)
    points = _points(scores, costs, axis, score)
    coordinates = {method: (point.x, point.y) for method, point in points.items()}
    levels = {method: 100 * scores.of(method, score) for method in REFERENCES if method in scores.methods}
    levels = {method: level for method, level in levels.items() if math.isfinite(level)}
    window = _window(points, levels, log=axis == "seconds")
    front = pareto({method: point for method, point in coordinates.items() if kinds[method] != "inputs"})
    figure.add_scatter(
        x=[points[method].x for method in front],
        y=[points[method].y for method in front],
        mode="lines",
        line={"color": palette.muted, "width": 1, "dash": "dot"},
        name="best at its cost, without real inputs",
        hoverinfo="skip",
        uid="front",
    )
    whiskers = {method: (point.low, point.high) for method, point in points.items()}
    names = [window.name_of_level(level, titles[method]) for method, level in levels.items()]
    labels = place_labels(coordinates, whiskers, titles, window, first=front, taken=names)
    for kind in STYLES:
        of_kind = {method: point for method, point in points.items() if kinds[method] == kind}
        if of_kind:
            _add_kind(figure, of_kind, kind, costs, labels, theme, titles=titles, axis=axis)
    for method, level in levels.items():
        figure.add_hline(
            y=level,
            line={"color": palette.muted, "width": 1, "dash": "dot"},
            annotation={"text": titles[method], "font": {"size": 11, "color": palette.muted}},
            annotation_position="top left",
        )
    figure.update_layout(margin={"r": 12}, legend={"y": -0.16})
    figure.update_yaxes(title=f"{of}{on} (%)", range=list(window.up))
    figure.update_xaxes(title="peak memory (MiB)", range=list(window.across))
    if window.log:
        figure.update_xaxes(title="seconds, including the anchors", type="log", **_ticks(points))
    return figure


def pareto(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The Pareto front, cheapest first, of method → (cost, score)."""
    front: list[str] = []
    best = -math.inf
    for method in sorted(points, key=lambda name: (points[name][0], -points[name][1])):
        if points[method][1] > best:
            front.append(method)
            best = points[method][1]
    return front


def _points(scores: Scores, costs: Mapping[str, Cost], axis: CostAxis, score: str) -> dict[str, _Point]:
    """The methods with known cost and score, without the references."""
    points = {}
    for method in scores.methods:
        x, y = costs[method].on(axis), 100 * scores.of(method, score)
        if method not in REFERENCES and x is not None and math.isfinite(y):
            low, high = scores.interval_of(method, score)
            points[method] = _Point(x, y, 100 * low, 100 * high)
    return points


def _window(points: Mapping[str, _Point], levels: Mapping[str, float], *, log: bool) -> Window:
    """A window that holds all points, whiskers and reference levels, with room for labels around them."""
    x = [math.log10(point.x) if log else point.x for point in points.values()] or [0.0, 1.0]
    y = [value for point in points.values() for value in (point.y, point.low, point.high)]
    y = [value for value in (*y, *levels.values()) if math.isfinite(value)] or [0.0, 100.0]
    wide, tall = (max(values) - min(values) or 1.0 for values in (x, y))
    return Window((min(x) - 0.06 * wide, max(x) + 0.14 * wide), (min(y) - 0.05 * tall, max(y) + 0.08 * tall), log)


def _add_kind(
    figure: go.Figure,
    points: Mapping[str, _Point],
    kind: Kind,
    costs: Mapping[str, Cost],
    labels: Mapping[str, str],
    theme: Theme,
    *,
    titles: Mapping[str, str],
    axis: CostAxis,
) -> None:
    palette, style = PALETTES[theme], STYLES[kind]
    colour = palette.muted if kind == "weights" else kind_colour(kind, theme)
    unknown = [axis == "seconds" and kind == "anchors" and costs[method].anchors_seconds is None for method in points]
    figure.add_scatter(
        x=[point.x for point in points.values()],
        y=[point.y for point in points.values()],
        mode="markers+text",
        marker={
            "symbol": [style.symbol + ("-open" if without else "") for without in unknown],
            "size": 10,
            "color": colour,
            "line": {"width": 1.5, "color": [colour if without else palette.page for without in unknown]},
        },
        error_y={
            "array": [point.high - point.y for point in points.values()],
            "arrayminus": [point.y - point.low for point in points.values()],
            "symmetric": False,
            "color": palette.muted,
            "thickness": 0.8,
            "width": 0,
        },
        text=[titles[method] if method in labels else "" for method in points],
        textposition=[labels.get(method, "middle right") for method in points],
        textfont={"size": 11, "color": palette.ink},
        customdata=[[titles[method], _cost_text(costs[method], kind)] for method in points],
        hovertemplate="<b>%{customdata[0]}</b><br>%{y:.1f} %<br>%{customdata[1]}<extra></extra>",
        name=style.heading.lower(),
        uid=kind,
    )


def _cost_text(cost: Cost, kind: Kind) -> str:
    """The cost in words, with the anchors' apart from the method's."""
    parts = []
    if cost.seconds is not None:
        parts.append(f"merging {cost.seconds:.3g} s")
        if kind == "anchors":
            known = cost.anchors_seconds is not None
            parts.append(f"anchors {cost.anchors_seconds:.3g} s" if known else "anchors: unknown, so more than this")
    if cost.peak_bytes is not None:
        parts.append(f"peak memory {cost.peak_bytes / 2**20:.0f} MiB")
    return "<br>".join(parts)


def _ticks(points: Mapping[str, _Point]) -> dict:
    """Ticks at decades, and at 2 and 5 between them if the axis spans fewer than three."""
    values = [point.x for point in points.values()]
    return log_ticks(fine=bool(values) and max(values) / min(values) < 1e3)

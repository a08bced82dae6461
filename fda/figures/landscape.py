"""The loss landscape: filled contours over a plane of weights with the paths through it, and the paths as curves.

A path keeps its hue in both figures. Over the contours it is bright with a dark casing, in either theme.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import plotly.graph_objects as go

from fda.analysis.grid import refined
from fda.figures.theme import PALETTES, SYMBOLS, Theme, blank, faint, sequential, series_colour
from fda.store.landscape_record import FDA_PATHS, FINETUNED, MEAN, TA, LandscapeMap, LandscapeNumbers, Track

Metric = Literal["loss", "accuracy"]
METRICS: tuple[Metric, ...] = ("loss", "accuracy")

TITLES = {TA: "Task arithmetic", "fda:pretrained": "FDA (Pretrained)", "fda:ta": "FDA (TA)"}
HUES = {
    TA: 1,
    "fda:pretrained": 3,
    "fda:ta": 2,
}  # indices into the palette's series: hues far from the blue and yellow of the contours
DASH = {TA: "dash", "fda:pretrained": "solid", "fda:ta": "dot"}
CASING = "#101820"
TINY = 1e-6
WIDTH, BESIDE_MAP = 490, 215  # pixels: width of the plane on a laptop; height of all above and below it
BAR_BELOW, LEGEND_BELOW = 64, 132  # pixels below the plane
ROOM_FROM = 0.65  # share of the width beyond which a label stands to the left of its point
LEVELS = 18  # bands of colour


def landscape_map(
    plane: LandscapeMap,
    numbers: LandscapeNumbers,
    theme: Theme,
    *,
    tasks: Sequence[str],
    metric: Metric = "loss",
    log: bool = True,
    follow: tuple[str, int] | None = None,
    uirevision: str | None = None,
) -> go.Figure:
    """`tasks`: names in the order of the finetuned models. `log`: colour follows the logarithm of the loss.

    `follow`: (path, index) of the point with a ring. Points that are not scored yet are interpolated.
    """
    what = _what(metric, numbers.of)
    slope = (plane.b[-1] - plane.b[0]) / (plane.a[-1] - plane.a[0])
    high = round(min(max(WIDTH * slope, 0.6 * WIDTH), WIDTH))
    figure = blank(f"{what} over a plane of weights", theme, height=high + BESIDE_MAP, uirevision=uirevision)
    if np.isfinite(numbers.grid[metric]).any():
        _add_plane(figure, plane, numbers, metric, log and metric == "loss", bar_at=-BAR_BELOW / high)
    for name in (TA, *FDA_PATHS):
        _add_path(figure, plane.track(name), numbers)
    _add_finetuned(figure, plane.track(FINETUNED), numbers, tasks)
    _add_start(figure, numbers)
    _add_best(figure, plane, numbers, metric)
    if follow is not None:
        _add_ring(figure, plane.track(follow[0]), follow[1])
    _add_ends(figure, plane, numbers, theme)
    first, second = _axis_titles(plane)
    figure.update_xaxes(title=first, range=[plane.a[0], plane.a[-1]], constrain="domain", showgrid=False)
    figure.update_yaxes(
        title=second,
        range=[plane.b[0], plane.b[-1]],
        scaleanchor="x",
        constrain="domain",
        constraintoward="top",
        showgrid=False,
    )
    figure.update_layout(legend={"y": -LEGEND_BELOW / high}, margin={"l": 8, "r": 8, "t": 44, "b": 8})
    return figure


def path_curves(
    plane: LandscapeMap,
    numbers: LandscapeNumbers,
    theme: Theme,
    *,
    metric: Metric = "loss",
    follow: tuple[str, int] | None = None,
    uirevision: str | None = None,
) -> go.Figure:
    """Loss or accuracy (in percent) of the paths' true weights against their distance from θ0; `follow` as above."""
    percent = 100 if metric == "accuracy" else 1
    figure = blank(f"{_what(metric, numbers.of)} along the paths", theme, height=340, uirevision=uirevision)
    for index, name in enumerate((TA, *FDA_PATHS)):
        track, values = plane.track(name), percent * numbers.tracks[metric][name]
        colour = series_colour(HUES[name], theme)
        figure.add_scatter(
            x=track.travelled,
            y=values,
            mode="lines+markers",
            line={"color": colour, "width": 2, "dash": DASH[name]},
            marker={"color": colour, "size": 6, "symbol": SYMBOLS[index]},
            customdata=_hovers(track, numbers),
            hovertemplate="%{customdata}<extra></extra>",
            name=TITLES[name],
            uid=name,
        )
    if follow is not None:  # last, so that each curve keeps its index, and with it whether the reader has hidden it
        name, index = follow
        figure.add_scatter(
            x=[plane.track(name).travelled[index]],
            y=[percent * numbers.tracks[metric][name][index]],
            mode="markers",
            marker={
                "size": 15,
                "color": faint(series_colour(HUES[name], theme), 0.25),
                "line": {"width": 2, "color": PALETTES[theme].ink},
            },
            hoverinfo="skip",
            showlegend=False,
            uid="ring",
        )
    figure.update_xaxes(title="distance from θ₀, ‖θ − θ₀‖ / ‖Σ τᵢ‖", rangemode="tozero")
    figure.update_yaxes(title="accuracy (%)" if metric == "accuracy" else "loss")
    figure.update_layout(legend={"y": -0.25})
    return figure


def _what(metric: Metric, of: str) -> str:
    return f"Mean {metric} of all tasks" if of == MEAN else f"{metric.capitalize()} on {of}"


def _axis_titles(plane: LandscapeMap) -> tuple[str, str]:
    if plane.directions == "paths":
        return "a: first principal direction, in ‖Σ τᵢ‖", "b: second principal direction, in ‖Σ τᵢ‖"
    return "a: along Σ τᵢ (task arithmetic at λ lies at a = λ)", "b: across, towards FDA (Pretrained), in ‖Σ τᵢ‖"


def _add_plane(
    figure: go.Figure, plane: LandscapeMap, numbers: LandscapeNumbers, metric: Metric, log: bool, bar_at: float
) -> None:
    """Contours once the coarsest grid is complete; until then a coloured square per scored point."""
    shown = {name: refined(numbers.grid[name]) for name in METRICS}
    z = (100 if metric == "accuracy" else 1) * shown[metric]
    low, high = float(np.nanmin(z)), float(np.nanmax(z))
    ticks = _ticks(low, high)
    bar = {
        "title": {"text": "accuracy (%)" if metric == "accuracy" else "loss", "side": "top"},
        "ticktext": [f"{tick:g}" for tick in ticks],
    }
    if log:
        z, low, high, ticks = (np.log10(np.maximum(values, TINY)) for values in (z, low, high, ticks))
    bar |= {
        "tickvals": ticks,
        "orientation": "h",
        "y": bar_at,
        "yanchor": "top",
        "thickness": 10,
        "len": 0.8,
        "outlinewidth": 0,
    }
    hover_data = np.dstack([shown["loss"], 100 * shown["accuracy"]]).astype(np.float32)
    hover = "<b>a %{x:.2f}, b %{y:.2f}</b><br>loss %{customdata[0]:.3f}<br>accuracy %{customdata[1]:.1f} %"
    known = np.isfinite(numbers.grid[metric])
    if np.isnan(z).any():
        rows, columns = np.nonzero(known)
        figure.add_scatter(
            x=np.asarray(plane.a)[columns],
            y=np.asarray(plane.b)[rows],
            mode="markers",
            marker={"symbol": "square", "size": 16, "color": z[known], "colorscale": sequential(), "colorbar": bar},
            customdata=hover_data[known],
            hovertemplate=hover + "<extra></extra>",
            showlegend=False,
            uid="first points",
        )
        return
    figure.add_contour(
        x=np.asarray(plane.a, np.float32),
        y=np.asarray(plane.b, np.float32),
        z=z.astype(np.float32),
        customdata=hover_data,
        text=np.where(known, "", "<br>not scored yet: interpolated").tolist(),
        hovertemplate=hover + "%{text}<extra></extra>",
        colorscale=sequential(),
        autocontour=False,
        contours={"start": low, "end": high, "size": max((high - low) / LEVELS, 1e-9), "coloring": "fill"},
        line={"width": 0.5, "color": "rgba(255,255,255,0.35)", "smoothing": 0.7},
        zmin=low,
        zmax=high,
        colorbar=bar,
        name="plane",
        uid="plane",
    )


def _ticks(low: float, high: float) -> np.ndarray:
    """Three to eight round numbers between the ends."""
    exact = max(high - low, TINY) / 8
    power = 10 ** np.floor(np.log10(exact))
    step = power * next(digit for digit in (1, 2, 5, 10) if digit * power >= exact)
    return np.round(np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step, 10)


def _add_path(figure: go.Figure, track: Track, numbers: LandscapeNumbers) -> None:
    index = list(HUES).index(track.name)
    colour = series_colour(HUES[track.name], "dark")
    for width, line, uid in ((6, CASING, f"casing {track.name}"), (3, colour, track.name)):
        top = uid == track.name
        figure.add_scatter(
            x=track.a,
            y=track.b,
            mode="lines+markers",
            line={"width": width, "color": line, "dash": DASH[track.name] if top else "solid"},
            marker={
                "size": 8 if top else 11,
                "color": line,
                "symbol": SYMBOLS[index],
                "line": {"width": 0},
            },
            opacity=1 if top else 0.55,
            customdata=_hovers(track, numbers) if top else None,
            hovertemplate="%{customdata}<extra></extra>" if top else None,
            hoverinfo=None if top else "skip",
            name=TITLES[track.name],
            legendgroup=track.name,
            showlegend=top,
            uid=uid,
        )


def _add_finetuned(figure: go.Figure, track: Track, numbers: LandscapeNumbers, tasks: Sequence[str]) -> None:
    hovers = _hovers(track, numbers, [f"finetuned on {task}" for task in tasks])
    for index, task in enumerate(tasks):
        figure.add_scatter(
            x=[track.a[index]],
            y=[track.b[index]],
            mode="markers",
            marker={
                "size": 11,
                "symbol": SYMBOLS[index % len(SYMBOLS)],
                "color": "#ffffff",
                "line": {"width": 2.5, "color": series_colour(index, "light")},
            },
            customdata=[hovers[index]],
            hovertemplate="%{customdata}<extra></extra>",
            name=f"θ({task})",
            uid=f"finetuned {task}",
        )


def _add_start(figure: go.Figure, numbers: LandscapeNumbers) -> None:
    figure.add_scatter(
        x=[0.0],
        y=[0.0],
        mode="markers",
        marker={"size": 13, "symbol": "circle", "color": CASING, "line": {"width": 2, "color": "#ffffff"}},
        customdata=["<br>".join(["<b>θ₀, the pretrained model</b>", *_scores(TA, 0, numbers)])],
        hovertemplate="%{customdata}<extra></extra>",
        name="θ₀",
        uid="start",
    )


def _add_best(figure: go.Figure, plane: LandscapeMap, numbers: LandscapeNumbers, metric: Metric) -> None:
    """A star at the best point scored so far; no trace, and no legend entry, before the first."""
    values = numbers.grid[metric]
    if not np.isfinite(values).any():
        return
    best = np.nanargmin(values) if metric == "loss" else np.nanargmax(values)
    row, column = np.unravel_index(best, values.shape)
    loss, accuracy = numbers.grid["loss"][row, column], numbers.grid["accuracy"][row, column]
    name = "lowest loss on the plane" if metric == "loss" else "highest accuracy on the plane"
    figure.add_scatter(
        x=[plane.a[column]],
        y=[plane.b[row]],
        mode="markers",
        marker={"size": 13, "symbol": "star", "color": "#ffffff", "line": {"width": 1.5, "color": CASING}},
        customdata=[f"<b>{name}</b><br>loss {loss:.3f}<br>accuracy {100 * accuracy:.1f} %"],
        hovertemplate="%{customdata}<extra></extra>",
        cliponaxis=False,
        name=name,
        uid="best",
    )


def _add_ring(figure: go.Figure, track: Track, index: int) -> None:
    for size, width, colour, uid in ((22, 6, CASING, "ring casing"), (22, 3, "#ffffff", "ring")):
        figure.add_scatter(
            x=[track.a[index]],
            y=[track.b[index]],
            mode="markers",
            marker={"size": size, "symbol": "circle-open", "color": colour, "line": {"width": width, "color": colour}},
            hoverinfo="skip",
            showlegend=False,
            uid=uid,
        )


def _add_ends(figure: go.Figure, plane: LandscapeMap, numbers: LandscapeNumbers, theme: Theme) -> None:
    """Labels with the accuracy of the true weights at θ0 and at the paths' ends, on the side away from the path."""
    ta = plane.track(TA)
    ends = [
        (ta, 0, "θ₀", "bottom", "center"),
        (ta, ta.at.index(plane.scale), f"TA, λ {plane.scale:g}", "top", "center"),
        (ta, len(ta.at) - 1, f"TA, λ {ta.at[-1]:g}", "top", "center"),
        (plane.track("fda:pretrained"), -1, TITLES["fda:pretrained"], "middle", "right"),
        (plane.track("fda:ta"), -1, TITLES["fda:ta"], "middle", "left"),
    ]
    crowded = plane.a[0] + ROOM_FROM * (plane.a[-1] - plane.a[0])
    shift = {"left": 12, "right": -12, "center": 0, "top": -10, "bottom": 10, "middle": 0}
    for track, index, title, up, across in ends:
        accuracy = numbers.tracks["accuracy"][track.name][index]
        if np.isfinite(accuracy):
            across = "right" if across == "left" and track.a[index] > crowded else across
            figure.add_annotation(
                x=track.a[index],
                y=track.b[index],
                text=f"{title} <b>{100 * accuracy:.1f} %</b>",
                showarrow=False,
                xanchor=across,
                yanchor=up,
                xshift=shift[across],
                yshift=shift[up],
                bgcolor=faint(PALETTES[theme].page, 0.82),
                borderpad=2,
                font={"size": 11, "color": PALETTES[theme].ink},
            )


def _hovers(track: Track, numbers: LandscapeNumbers, names: Sequence[str] | None = None) -> list[str]:
    """Hover text per point: its name, the scores of its true weights, and its distance from the plane."""
    names = names or [f"{TITLES[track.name]}, {mark(track, index)}" for index in range(len(track.at))]
    return [
        "<br>".join([f"<b>{name}</b>", *_scores(track.name, index, numbers), _off_plane(track.distance[index])])
        for index, name in enumerate(names)
    ]


def mark(track: Track, index: int) -> str:
    """A point's position along its path, in words."""
    return f"λ {track.at[index]:g}" if track.name == TA else f"epoch {track.at[index]:g}"


def _scores(name: str, index: int, numbers: LandscapeNumbers) -> list[str]:
    loss, accuracy = (numbers.tracks[metric][name][index] for metric in METRICS)
    return [f"loss {loss:.3f}", f"accuracy {100 * accuracy:.1f} %"] if np.isfinite(loss) else ["not scored yet"]


def _off_plane(distance: float) -> str:
    return f"off the plane by {distance:.2f} ‖Σ τᵢ‖" if distance > 1e-6 else "on the plane"

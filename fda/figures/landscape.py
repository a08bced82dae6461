"""The loss landscape: a plane of weights as filled contours with the paths through it, and the same paths as curves.

Paths keep their hue in both. Over the contours they are the bright variant of it in a dark casing, whatever the theme.
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
}  # places in the palette's series: far from the blue and yellow of the contours
DASH = {TA: "dash", "fda:pretrained": "solid", "fda:ta": "dot"}
CASING = "#101820"
TINY = 1e-6
WIDTH, BESIDE_MAP = 490, 215  # pixels: of the plane on a laptop, and of all above and below it
BAR_BELOW, LEGEND_BELOW = 64, 132  # pixels below the plane
ROOM_FROM = 0.65  # of the width: beyond, a label stands to the left of its point
LEVELS = 18  # bands of colour


def landscape_map(
    found: LandscapeMap,
    numbers: LandscapeNumbers,
    theme: Theme,
    *,
    tasks: Sequence[str],
    metric: Metric = "loss",
    log: bool = True,
    follow: tuple[str, int] | None = None,
    uirevision: str | None = None,
) -> go.Figure:
    """`tasks`: their names, in the order of the finetuned models. `log`: colour follows the logarithm of the loss.

    `follow`: (path, place) of the point that wears a ring. Between scored points the picture is interpolated until they come.
    """
    what = _what(metric, numbers.of)
    slope = (found.b[-1] - found.b[0]) / (found.a[-1] - found.a[0])
    high = round(min(max(WIDTH * slope, 0.6 * WIDTH), WIDTH))
    figure = blank(f"{what} over a plane of weights", theme, height=high + BESIDE_MAP, uirevision=uirevision)
    if np.isfinite(numbers.grid[metric]).any():
        _add_plane(figure, found, numbers, metric, log and metric == "loss", bar_at=-BAR_BELOW / high)
    for name in (TA, *FDA_PATHS):
        _add_path(figure, found.track(name), numbers)
    _add_finetuned(figure, found.track(FINETUNED), numbers, tasks)
    _add_start(figure, numbers)
    _add_best(figure, found, numbers, metric)
    if follow is not None:
        _add_ring(figure, found.track(follow[0]), follow[1])
    _add_ends(figure, found, numbers, theme)
    first, second = _axis_titles(found)
    figure.update_xaxes(title=first, range=[found.a[0], found.a[-1]], constrain="domain", showgrid=False)
    figure.update_yaxes(
        title=second,
        range=[found.b[0], found.b[-1]],
        scaleanchor="x",
        constrain="domain",
        constraintoward="top",
        showgrid=False,
    )
    figure.update_layout(legend={"y": -LEGEND_BELOW / high}, margin={"l": 8, "r": 8, "t": 44, "b": 8})
    return figure


def path_curves(
    found: LandscapeMap,
    numbers: LandscapeNumbers,
    theme: Theme,
    *,
    metric: Metric = "loss",
    follow: tuple[str, int] | None = None,
    uirevision: str | None = None,
) -> go.Figure:
    """Loss or accuracy (in percent) of the paths' true weights against their distance from θ0."""
    percent = 100 if metric == "accuracy" else 1
    figure = blank(f"{_what(metric, numbers.of)} along the paths", theme, height=340, uirevision=uirevision)
    for place, name in enumerate((TA, *FDA_PATHS)):
        track, values = found.track(name), percent * numbers.tracks[metric][name]
        colour = series_colour(HUES[name], theme)
        figure.add_scatter(
            x=track.travelled,
            y=values,
            mode="lines+markers",
            line={"color": colour, "width": 2, "dash": DASH[name]},
            marker={"color": colour, "size": 6, "symbol": SYMBOLS[place]},
            customdata=_hovers(track, numbers),
            hovertemplate="%{customdata}<extra></extra>",
            name=TITLES[name],
            uid=name,
        )
    if follow is not None:  # last, so that curves keep their places, and with them what the reader has hidden
        name, place = follow
        figure.add_scatter(
            x=[found.track(name).travelled[place]],
            y=[percent * numbers.tracks[metric][name][place]],
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


def _axis_titles(found: LandscapeMap) -> tuple[str, str]:
    if found.directions == "paths":
        return "a: first principal direction, in ‖Σ τᵢ‖", "b: second principal direction, in ‖Σ τᵢ‖"
    return "a: along Σ τᵢ (task arithmetic at λ lies at a = λ)", "b: across, towards FDA (Pretrained), in ‖Σ τᵢ‖"


def _add_plane(
    figure: go.Figure, found: LandscapeMap, numbers: LandscapeNumbers, metric: Metric, log: bool, bar_at: float
) -> None:
    """Contours once the coarsest grid is complete; before that, a coloured square for each point there is."""
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
    told = np.dstack([shown["loss"], 100 * shown["accuracy"]]).astype(np.float32)
    hover = "<b>a %{x:.2f}, b %{y:.2f}</b><br>loss %{customdata[0]:.3f}<br>accuracy %{customdata[1]:.1f} %"
    known = np.isfinite(numbers.grid[metric])
    if np.isnan(z).any():
        rows, columns = np.nonzero(known)
        figure.add_scatter(
            x=np.asarray(found.a)[columns],
            y=np.asarray(found.b)[rows],
            mode="markers",
            marker={"symbol": "square", "size": 16, "color": z[known], "colorscale": sequential(), "colorbar": bar},
            customdata=told[known],
            hovertemplate=hover + "<extra></extra>",
            showlegend=False,
            uid="first points",
        )
        return
    figure.add_contour(
        x=np.asarray(found.a, np.float32),
        y=np.asarray(found.b, np.float32),
        z=z.astype(np.float32),
        customdata=told,
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
    """Round numbers between the ends, three to eight."""
    exact = max(high - low, TINY) / 8
    power = 10 ** np.floor(np.log10(exact))
    step = power * next(digit for digit in (1, 2, 5, 10) if digit * power >= exact)
    return np.round(np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step, 10)


def _add_path(figure: go.Figure, track: Track, numbers: LandscapeNumbers) -> None:
    place = list(HUES).index(track.name)
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
                "symbol": SYMBOLS[place],
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
    for place, task in enumerate(tasks):
        figure.add_scatter(
            x=[track.a[place]],
            y=[track.b[place]],
            mode="markers",
            marker={
                "size": 11,
                "symbol": SYMBOLS[place % len(SYMBOLS)],
                "color": "#ffffff",
                "line": {"width": 2.5, "color": series_colour(place, "light")},
            },
            customdata=[hovers[place]],
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


def _add_best(figure: go.Figure, found: LandscapeMap, numbers: LandscapeNumbers, metric: Metric) -> None:
    """The best of the points that were scored, in no legend's way while there are none."""
    values = numbers.grid[metric]
    if not np.isfinite(values).any():
        return
    best = np.nanargmin(values) if metric == "loss" else np.nanargmax(values)
    row, column = np.unravel_index(best, values.shape)
    loss, accuracy = numbers.grid["loss"][row, column], numbers.grid["accuracy"][row, column]
    name = "lowest loss on the plane" if metric == "loss" else "highest accuracy on the plane"
    figure.add_scatter(
        x=[found.a[column]],
        y=[found.b[row]],
        mode="markers",
        marker={"size": 13, "symbol": "star", "color": "#ffffff", "line": {"width": 1.5, "color": CASING}},
        customdata=[f"<b>{name}</b><br>loss {loss:.3f}<br>accuracy {100 * accuracy:.1f} %"],
        hovertemplate="%{customdata}<extra></extra>",
        cliponaxis=False,
        name=name,
        uid="best",
    )


def _add_ring(figure: go.Figure, track: Track, place: int) -> None:
    for size, width, colour, uid in ((22, 6, CASING, "ring casing"), (22, 3, "#ffffff", "ring")):
        figure.add_scatter(
            x=[track.a[place]],
            y=[track.b[place]],
            mode="markers",
            marker={"size": size, "symbol": "circle-open", "color": colour, "line": {"width": width, "color": colour}},
            hoverinfo="skip",
            showlegend=False,
            uid=uid,
        )


def _add_ends(figure: go.Figure, found: LandscapeMap, numbers: LandscapeNumbers, theme: Theme) -> None:
    """The accuracy of the true weights at θ0 and at the paths' ends, each on the side where no path leaves."""
    ta = found.track(TA)
    ends = [
        (ta, 0, "θ₀", "bottom", "center"),
        (ta, ta.at.index(found.scale), f"TA, λ {found.scale:g}", "top", "center"),
        (ta, len(ta.at) - 1, f"TA, λ {ta.at[-1]:g}", "top", "center"),
        (found.track("fda:pretrained"), -1, TITLES["fda:pretrained"], "middle", "right"),
        (found.track("fda:ta"), -1, TITLES["fda:ta"], "middle", "left"),
    ]
    crowded = found.a[0] + ROOM_FROM * (found.a[-1] - found.a[0])
    shift = {"left": 12, "right": -12, "center": 0, "top": -10, "bottom": 10, "middle": 0}
    for track, place, title, up, across in ends:
        accuracy = numbers.tracks["accuracy"][track.name][place]
        if np.isfinite(accuracy):
            across = "right" if across == "left" and track.a[place] > crowded else across
            figure.add_annotation(
                x=track.a[place],
                y=track.b[place],
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
    """What is told of every point: which it is, its true weights' scores, and how far it lies off the plane."""
    names = names or [f"{TITLES[track.name]}, {mark(track, place)}" for place in range(len(track.at))]
    return [
        "<br>".join([f"<b>{name}</b>", *_scores(track.name, place, numbers), _off_plane(track.distance[place])])
        for place, name in enumerate(names)
    ]


def mark(track: Track, place: int) -> str:
    """Where a point of a path is on it, in words."""
    return f"λ {track.at[place]:g}" if track.name == TA else f"epoch {track.at[place]:g}"


def _scores(name: str, place: int, numbers: LandscapeNumbers) -> list[str]:
    loss, accuracy = (numbers.tracks[metric][name][place] for metric in METRICS)
    return [f"loss {loss:.3f}", f"accuracy {100 * accuracy:.1f} %"] if np.isfinite(loss) else ["not scored yet"]


def _off_plane(distance: float) -> str:
    return f"off the plane by {distance:.2f} ‖Σ τᵢ‖" if distance > 1e-6 else "on the plane"

"""Figures of the Playground's linear layer: its gradient turns towards Δ, its anchors' energy leaves the tail."""

import math
from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from fda.analysis.playground import Course
from fda.figures.spectrum import spectrum_curves
from fda.figures.theme import (
    DASHES,
    PALETTES,
    SYMBOLS,
    Palette,
    Theme,
    blank,
    diverging,
    faint,
    log_ticks,
    series_colour,
    steps_colours,
)

HEIGHT = 370
LEGEND_HEIGHT = 450  # with a legend of several rows below the plot
YOURS = "yours"
APART = 9.0  # degrees from which on the labels of two arrows do not collide


def loss_curve(course: Course, theme: Theme, *, uirevision: str | None = None) -> go.Figure:
    """Angle loss of one course over steps; at 0 the gradient points along Δ."""
    palette = PALETTES[theme]
    figure = _over_steps("Angle loss over steps", "1 − cos(gradient, Δ)", theme, uirevision)
    figure.add_scatter(
        x=_steps(course),
        y=course.loss.astype(np.float32),
        customdata=course.degrees.astype(np.float32),
        mode="lines",
        line={"width": 3, "color": palette.accent},
        hovertemplate="step %{x}: angle loss %{y:.4f}, %{customdata:.1f}° off Δ<extra></extra>",
        showlegend=False,
        uid=YOURS,
    )
    figure.add_scatter(
        x=[course.setting.steps],
        y=[float(course.loss[-1])],
        mode="markers",
        marker={"size": 9, "color": palette.accent},
        hoverinfo="skip",
        showlegend=False,
        uid="end",
    )
    _label_end(figure, course.setting.steps, course.loss[-1], f"{course.loss[-1]:.3f}", palette.accent)
    figure.update_yaxes(range=[-0.02 * _top(course.loss), _top(course.loss)])
    return figure


def turning_arrows(course: Course, theme: Theme, *, uirevision: str | None = None) -> go.Figure:
    """The induced gradient at several steps as arrows of equal length, at their true angles to Δ, which lies flat."""
    palette = PALETTES[theme]
    figure = blank("The gradient turns towards Δ", theme, height=HEIGHT, uirevision=uirevision)
    _add_arrow(figure, 0, "Δ, the task vector", {"width": 7, "color": palette.series[1]}, "delta")
    degrees = course.degrees[course.at]
    for step, angle, colour in zip(course.at, degrees, steps_colours(len(course.at), theme), strict=True):
        width = 3.5 if step == course.at[-1] else 1.6
        line = {"width": width, "color": colour, "dash": "dot" if step == 0 else "solid"}
        _add_arrow(figure, angle, f"step {step}: {angle:.1f}° off Δ", line, f"step {step}")
    first, last = float(degrees[0]), float(degrees[-1])
    near = abs(first - last) < APART
    labels = (
        (0, "<b>Δ</b>", -14, palette.series[1]),
        (first, f"start: {first:.0f}°", 14 if near and first >= last else 4, palette.ink),
        (last, f"<b>end: {last:.0f}°</b>", 12 if last < APART else -8 if near else 4, palette.ink),
    )
    figure.update_layout(
        annotations=[
            {
                "x": 1.05 * math.cos(math.radians(angle)),
                "y": 1.05 * math.sin(math.radians(angle)),
                "text": text,
                "yshift": shift,
                "showarrow": False,
                "xanchor": "left",
                "font": {"size": 13, "color": colour},
            }
            for angle, text, shift, colour in labels
        ]
    )
    figure.update_xaxes(range=[-0.04, 1.4], visible=False, fixedrange=True, constrain="domain")
    figure.update_yaxes(range=[-0.14, 1.14], visible=False, fixedrange=True, scaleanchor="x", constrain="domain")
    return figure


def gradient_maps(course: Course, theme: Theme, *, uirevision: str | None = None) -> go.Figure:
    """The induced gradient at the first and last step above Δ, each of norm 1, in the singular directions of Δ.

    In these Δ is diagonal in its first `rank` columns (the head) and zero in the others (the tail).
    """
    palette, (rank, d) = PALETTES[theme], course.target.shape
    names = ("start", f"step {course.at[-1]}", "Δ")
    maps = (course.gradients[0], course.gradients[-1], course.target)
    gap = max(1, rank // 3)
    empty = np.full((gap, d), np.nan)
    z = np.concatenate([maps[0], empty, maps[1], empty, maps[2]]).astype(np.float32)
    largest = float(course.target.max())
    figure = blank("The anchors' gradient, and Δ", theme, height=HEIGHT, uirevision=uirevision)
    figure.add_heatmap(
        z=z,
        x0=1,
        colorscale=_entries_scale(theme),
        zmin=-largest,
        zmax=largest,
        xgap=0.5,
        ygap=0.5,
        hoverongaps=False,
        hovertemplate="input direction %{x}: %{z:.2f}<extra></extra>",
        colorbar={"thickness": 10, "outlinewidth": 0, "tickformat": ".1f"},
        uid="maps",
    )
    middles = [index * (rank + gap) + (rank - 1) / 2 for index in range(3)]
    figure.update_yaxes(tickvals=middles, ticktext=names, ticks="", showgrid=False, autorange="reversed")
    figure.update_xaxes(showgrid=False, ticks="", title="direction of the input, largest variance first")
    cut = rank + 0.5
    figure.update_layout(
        margin={"t": 66},
        shapes=[
            {"type": "line", "x0": cut, "x1": cut, "y0": 0, "y1": 1, "yref": "paper"}
            | {"line": {"color": palette.ink, "width": 1.5, "dash": "dot"}}
        ]
        + [  # between the cells: those near zero have almost the background's colour
            {"type": "rect", "x0": 0.5, "x1": d + 0.5, "y0": middle - rank / 2, "y1": middle + rank / 2}
            | {"line": {"width": 0}, "fillcolor": palette.plain, "opacity": 0.6, "layer": "below"}
            for middle in middles
        ],
        annotations=[
            {"x": cut, "y": 1, "yref": "paper", "text": f"<b>{text}</b>", "xanchor": anchor, "yanchor": "bottom"}
            | {"xshift": shift, "showarrow": False, "font": {"size": 12, "color": palette.ink}}
            for text, anchor, shift in (("head", "right", -4), ("tail", "left", 4))
        ],
    )
    return figure


def _entries_scale(theme: Theme) -> list[list]:
    """`diverging`, but half of its colour at a quarter of the range: most entries are small and would look empty."""
    scale = diverging(theme)
    halves = [str(colour) for colour in sample_colorscale(scale, [0.25, 0.75])]
    return [scale[0], [0.375, halves[0]], scale[1], [0.625, halves[1]], scale[2]]


def energy_areas(course: Course, theme: Theme, *, uirevision: str | None = None) -> go.Figure:
    """The anchors' energy in head (below) and tail (above, hatched), as shares of the sum."""
    palette = PALETTES[theme]
    figure = _over_steps("Where the anchors' energy lies", "share of ‖X‖²", theme, uirevision)
    head, tail = palette.accent, palette.series[1]
    for name, values, energy, colour, shape in (
        ("head", 1 - course.tail_share, course.head, head, ""),
        ("tail", course.tail_share, course.tail, tail, "/"),
    ):
        figure.add_scatter(
            x=_steps(course),
            y=values.astype(np.float32),
            customdata=energy.astype(np.float32),
            stackgroup="energy",
            mode="lines",
            line={"width": 1.5, "color": colour},
            fillcolor=faint(colour, 0.35),
            fillpattern={"shape": shape, "fgcolor": colour, "bgcolor": faint(colour, 0.12), "size": 7, "solidity": 0.25}
            if shape
            else None,
            hovertemplate=f"{name} at step %{{x}}: %{{y:.1%}}, energy %{{customdata:.3g}}<extra></extra>",
            showlegend=False,
            uid=name,
        )
    chance = course.setting.rank / course.setting.d
    figure.add_hline(y=chance, line={"color": palette.ink, "width": 1.5, "dash": "2px,3px"})
    _note(figure, 1.0, chance, f"head by chance: rank/d = {chance:.0%}", palette, xanchor="right", yanchor="bottom")
    share = float(course.tail_share[-1])
    _note(figure, 0.06, 0.95, "<b>tail</b> (I − P)X", palette, xanchor="left", yanchor="top")
    _note(figure, 0.06, 0.015, "<b>head</b> PX", palette, xanchor="left", yanchor="bottom")
    _note(
        figure,
        1.0,
        min(0.9, max(0.1, 1 - share / 2)),
        f"<b>{share:.0%}</b>",
        palette,
        xanchor="right",
        yanchor="middle",
    )
    figure.update_yaxes(range=[0, 1], tickformat=".0%", showgrid=False)
    return figure


def energy_curves(course: Course, theme: Theme, *, uirevision: str | None = None) -> go.Figure:
    """‖PX‖² and ‖(I − P)X‖² over steps on a log axis, which shows whether either changes."""
    palette = PALETTES[theme]
    figure = _over_steps("Energy in head and tail over steps", "energy", theme, uirevision)
    for name, values, colour, dash in (
        ("head ‖PX‖²", course.head, palette.accent, "solid"),
        ("tail ‖(I − P)X‖²", course.tail, palette.series[1], "dash"),
    ):
        figure.add_scatter(
            x=_steps(course),
            y=np.maximum(values, 1e-12).astype(np.float32),
            mode="lines",
            line={"width": 2.5, "color": colour, "dash": dash},
            name=name,
            hovertemplate=f"{name} at step %{{x}}: %{{y:.3g}}<extra></extra>",
            uid=name,
        )
    figure.update_yaxes(type="log", exponentformat="power", dtick=1, minor={"showgrid": False})
    return figure


def spectrum_of_anchors(course: Course, theme: Theme, *, uirevision: str | None = None) -> go.Figure:
    """Singular values of X over the largest at several steps, with a line at the rank of Δ."""
    figure = spectrum_curves(course.at, course.spectra, theme, unit="X", uirevision=uirevision)
    figure.update_layout(height=HEIGHT, title={"text": "Singular values of the anchors X"})
    rank, count = course.setting.rank, course.spectra.shape[1]
    if rank < count:
        palette = PALETTES[theme]
        figure.add_vline(x=rank + 0.5, line={"color": palette.ink, "width": 1.5, "dash": "dot"})
        figure.add_annotation(
            x=rank + 0.5,
            y=0.02,
            yref="paper",
            text=f"rank of Δ: {rank}",
            textangle=-90,
            xanchor="right",
            yanchor="bottom",
            showarrow=False,
            font={"size": 11, "color": palette.ink},
        )
    low = max(float(course.spectra[:, -1].min()), 1e-4)
    figure.update_yaxes(range=[math.log10(low) - 0.15, 0.08], **log_ticks(fine=low > 2e-2))
    return figure


def starts_loss(
    current: Course, by_start: Mapping[str, Course], theme: Theme, *, uirevision: str | None = None
) -> go.Figure:
    """Angle loss of the reader's course `current`, thick, and of `by_start`, which differ in how anchors start."""
    figure = _over_steps("Angle loss by start", "1 − cos(gradient, Δ)", theme, uirevision)
    _add_starts(
        figure, current.loss, {name: course.loss for name, course in by_start.items()}, theme, "angle loss %{y:.4f}"
    )
    top = max(_top(course.loss) for course in (current, *by_start.values()))
    figure.update_yaxes(range=[-0.02 * top, top])
    return figure


def starts_tail(
    current: Course, by_start: Mapping[str, Course], theme: Theme, *, uirevision: str | None = None
) -> go.Figure:
    """The tail's share of the energy in the same courses, with the chance level 1 − rank/d."""
    palette = PALETTES[theme]
    figure = _over_steps("Tail's share of the energy by start", "share of ‖X‖² in the tail", theme, uirevision)
    shares = {name: course.tail_share for name, course in by_start.items()}
    _add_starts(figure, current.tail_share, shares, theme, "%{y:.1%} in the tail")
    chance = 1 - current.setting.rank / current.setting.d
    figure.add_hline(y=chance, line={"color": palette.ink, "width": 1.5, "dash": "2px,3px"})
    _note(figure, 1.0, chance, f"by chance {chance:.0%}", palette, xanchor="right", yanchor="bottom")
    figure.update_yaxes(range=[0, 1.05], tickformat=".0%")
    return figure


def _add_starts(
    figure: go.Figure, current: np.ndarray, by_start: Mapping[str, np.ndarray], theme: Theme, number: str
) -> None:
    """One curve per start, with its own colour, dash and symbol; the reader's curve lies on top."""
    steps = np.arange(len(current), dtype=np.int32)
    for index, (name, values) in enumerate(by_start.items()):
        colour = series_colour(index, theme)
        figure.add_scatter(
            x=steps,
            y=values.astype(np.float32),
            mode="lines+markers",
            line={"width": 1.8, "color": colour, "dash": DASHES[index % len(DASHES)]},
            marker={"symbol": SYMBOLS[index % len(SYMBOLS)], "size": 8, "color": colour, "maxdisplayed": 9},
            name=name,
            hovertemplate=f"<b>{name}</b>, step %{{x}}: {number}<extra></extra>",
            uid=name,
        )
    figure.add_scatter(
        x=steps,
        y=current.astype(np.float32),
        mode="lines",
        line={"width": 5, "color": faint(PALETTES[theme].ink, 0.55)},
        name=YOURS,
        hovertemplate=f"<b>{YOURS}</b>, step %{{x}}: {number}<extra></extra>",
        uid=YOURS,
    )
    figure.update_layout(height=LEGEND_HEIGHT)


def _over_steps(title: str, y_title: str, theme: Theme, uirevision: str | None) -> go.Figure:
    figure = blank(title, theme, height=HEIGHT, uirevision=uirevision)
    figure.update_xaxes(title="optimiser step")
    figure.update_yaxes(title=y_title)
    return figure


def _add_arrow(figure: go.Figure, degrees: float, text: str, line: dict, uid: str) -> None:
    """An arrow of length 1 from the origin at this angle."""
    figure.add_scatter(
        x=[0, math.cos(math.radians(degrees))],
        y=[0, math.sin(math.radians(degrees))],
        mode="lines+markers",
        line=line,
        marker={
            "symbol": "arrow",
            "angleref": "previous",
            "size": [0, 8 + 2 * line["width"]],
            "color": line["color"],
            "opacity": 1,
            "line": {"width": 0},
        },
        hovertemplate=f"{text}<extra></extra>",
        showlegend=False,
        uid=uid,
    )


def _note(figure: go.Figure, x: float, y: float, text: str, palette: Palette, **anchor: str) -> None:
    """A note inside the plot, on a background that keeps it readable over hatches. `x`: share of the width, `y`: data units."""
    figure.add_annotation(
        x=x,
        xref="paper",
        y=y,
        text=text,
        showarrow=False,
        font={"size": 12, "color": palette.ink},
        bgcolor=faint(palette.page, 0.75),
        borderpad=2,
        **anchor,
    )


def _label_end(figure: go.Figure, x: float, y: float, text: str, colour: str) -> None:
    figure.add_annotation(
        x=x, y=y, text=f"<b>{text}</b>", xanchor="right", yanchor="bottom", yshift=6, showarrow=False,
        font={"size": 13, "color": colour},
    )  # fmt: skip


def _steps(course: Course) -> np.ndarray:
    return np.arange(len(course.loss), dtype=np.int32)


def _top(loss: np.ndarray) -> float:
    """The upper end of a loss axis. It starts at zero, so that a stall looks like a stall."""
    return max(0.1, 1.12 * float(loss.max()))

"""Spectra over steps, tasks or blocks, as curves, ridge or heatmap; rows may follow the step dial."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from fda.figures.anchors import FLOOR, POINTS, STEP
from fda.figures.scrub import Scrubbed
from fda.figures.theme import (
    DASHES,
    PALETTES,
    Theme,
    blank,
    faint,
    log_ticks,
    series_colour,
    steps_colours,
)

Shape = Literal["curves", "ridge", "heatmap"]
SHAPES: tuple[Shape, ...] = ("curves", "ridge", "heatmap")
MOVING_POINTS = 128  # points of a row that follows the dial: all its positions are sent at once
OVERLAP = 1.8  # height of a ridge's largest value, in rows
VIRIDIS = "Viridis"


def spectra(
    rows: Sequence[str],
    values: np.ndarray,
    theme: Theme,
    *,
    shape: Shape,
    title: Sequence[str],
    row_title: str,
    ordered: bool,
    log: bool = True,
    uirevision: str | None = None,
) -> Scrubbed:
    """`values` (positions, rows, k): spectra at each position of the step dial, or at one for a still figure; NaN pads rows.

    `title`: one per position. `ordered`: colour follows the rows' order, such as steps; otherwise it only separates them.
    """
    stride = max(1, -(-values.shape[2] // (POINTS if len(values) == 1 else MOVING_POINTS)))
    drawn = values[:, :, ::stride]
    index = 1 + np.arange(0, values.shape[2], stride, dtype=np.int32)
    lowest = max(FLOOR, float(np.nanmin(values)))
    height = {"curves": 440, "heatmap": 130 + 22 * len(rows), "ridge": 150 + 26 * len(rows)}[shape]
    figure = blank(title[0], theme, height=max(340, height), uirevision=uirevision)
    scrubbed = Scrubbed(figure)
    draw = {"curves": _curves, "ridge": _ridge, "heatmap": _heatmap}[shape]
    draw(scrubbed, list(rows), index, drawn, theme, log=log, lowest=lowest, ordered=ordered, row_title=row_title)
    if len(title) > 1:
        scrubbed.move_layout(STEP, "title.text", list(title))
    figure.update_xaxes(title="index of the singular value")
    return scrubbed


def _colours(count: int, theme: Theme, ordered: bool) -> list[str]:
    if ordered:
        return steps_colours(count, theme)
    return [series_colour(number, theme) for number in range(count)]


def _move(scrubbed: Scrubbed, uid: str, drawn: np.ndarray) -> None:
    """Let trace `uid` follow the step dial, if `drawn` (positions, …) has more than one position."""
    if len(drawn) > 1:
        scrubbed.move_trace(STEP, uid, y=list(drawn))


def _curves(
    scrubbed: Scrubbed,
    rows: list[str],
    index: np.ndarray,
    drawn: np.ndarray,
    theme: Theme,
    *,
    log: bool,
    lowest: float,
    ordered: bool,
    row_title: str,
) -> None:
    figure = scrubbed.figure
    colours = _colours(len(rows), theme, ordered)
    for number, (row, colour) in enumerate(zip(rows, colours, strict=True)):
        edge = ordered and number in (0, len(rows) - 1)
        dash = DASHES[number % len(DASHES)]
        values = np.maximum(drawn[:, number], FLOOR)
        figure.add_scatter(
            x=index,
            y=values[0].astype(np.float32),
            mode="lines",
            line={"width": 3 if edge else 1.8, "color": colour, "dash": dash},
            name=row,
            hovertemplate=f"<b>{row}</b><br>singular value %{{x}}: %{{y:.3g}} of the largest<extra></extra>",
            uid=f"row-{row}",
        )
        _move(scrubbed, f"row-{row}", values)
    figure.update_yaxes(title="singular value / largest")
    if log:
        low = np.log10(lowest)
        figure.update_yaxes(type="log", range=[1.05 * low - 0.02, 0.05], minor={"showgrid": False})
        figure.update_yaxes(**log_ticks(fine=lowest > 2e-2))
    else:
        figure.update_yaxes(range=[0, 1.03])


def _ridge(
    scrubbed: Scrubbed,
    rows: list[str],
    index: np.ndarray,
    drawn: np.ndarray,
    theme: Theme,
    *,
    log: bool,
    lowest: float,
    ordered: bool,
    row_title: str,
) -> None:
    """The first row is on top; each row is drawn in front of those above it."""
    figure, palette = scrubbed.figure, PALETTES[theme]
    heights = np.clip(1 - np.log(np.maximum(drawn, lowest)) / min(np.log(lowest), -1e-9), 0, 1) if log else drawn
    hover_value = ": %{customdata:.3g}<extra></extra>" if len(drawn) == 1 else "<extra></extra>"
    for number, (row, colour) in enumerate(zip(rows, _colours(len(rows), theme, ordered), strict=True)):
        base = len(rows) - 1 - number
        level = base + OVERLAP * heights[:, number]
        figure.add_scatter(
            x=index,
            y=np.full(len(index), base, np.float32),
            mode="lines",
            line={"width": 0.8, "color": palette.grid},
            hoverinfo="skip",
            showlegend=False,
            uid=f"base-{row}",
        )
        figure.add_scatter(
            x=index,
            y=level[0].astype(np.float32),
            customdata=drawn[0, number].astype(np.float32) if len(drawn) == 1 else None,
            mode="lines",
            line={"width": 1.8, "color": colour},
            fill="tonexty",
            fillcolor=faint(palette.page, 0.75),
            name=row,
            hovertemplate=f"<b>{row}</b><br>singular value %{{x}}" + hover_value,
            showlegend=False,
            uid=f"row-{row}",
        )
        _move(scrubbed, f"row-{row}", level)
    figure.update_yaxes(
        title=row_title,
        tickvals=[len(rows) - 1 - number for number in range(len(rows))],
        ticktext=rows,
        range=[-0.2, len(rows) - 1 + OVERLAP + 0.1],
        showgrid=False,
    )


def _heatmap(
    scrubbed: Scrubbed,
    rows: list[str],
    index: np.ndarray,
    drawn: np.ndarray,
    theme: Theme,
    *,
    log: bool,
    lowest: float,
    ordered: bool,
    row_title: str,
) -> None:
    """Viridis is perceptually uniform. With `log` the colour is the logarithm; the colour bar shows values."""
    figure = scrubbed.figure
    z = np.log10(np.maximum(drawn, lowest)) if log else drawn
    bar = {"title": {"text": "singular value / largest", "side": "right"}, "thickness": 12, "outlinewidth": 0}
    if log:
        low = np.log10(lowest)
        ticks = [
            tick for tick in (1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8) if tick >= lowest
        ]
        if low < -2.5:
            ticks = [tick for tick in ticks if round(np.log10(tick), 6).is_integer()]
        bar |= {"tickvals": [float(np.log10(tick)) for tick in ticks], "ticktext": [f"{tick:g}" for tick in ticks]}
    figure.add_heatmap(
        x=index,
        y=rows,
        z=z[0].astype(np.float32),
        zmin=float(np.log10(lowest)) if log else 0.0,
        zmax=0.0 if log else 1.0,
        colorscale=VIRIDIS,
        colorbar=bar,
        hovertemplate="<b>%{y}</b><br>singular value %{x}: "
        + ("10<sup>%{z:.2f}</sup>" if log else "%{z:.3g}")
        + " of the largest<extra></extra>",
        uid="spectra",
    )
    if len(drawn) > 1:
        scrubbed.move_trace(STEP, "spectra", z=list(z))
    figure.update_yaxes(title=row_title, type="category", autorange="reversed", showgrid=False)
    figure.update_xaxes(showgrid=False)

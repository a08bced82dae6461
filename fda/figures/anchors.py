"""One unit's anchors over the steps, in one run or several side by side: figures that follow a step and a share of d.

A run is told by colour, dash and symbol; the pinned reference is thick, solid, in the colour of the text, and named so.
How anchors lie to real data is drawn in `anchors_alignment.py`, the spectra of many units at once in `ridge.py`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from fda.figures.scrub import Scrubbed
from fda.figures.theme import (
    DASHES,
    PALETTES,
    SYMBOLS,
    Theme,
    blank,
    faint,
    log_ticks,
    series_colour,
    steps_colours,
)
from fda.measures import SPECTRUM

STEP, SHARE = "step", "share"  # the dials
POINTS = 256  # of a longer spectrum every n-th value is drawn
TRAIL = 24  # faint curves of other steps behind the one at hand
FLOOR = 1e-8  # singular values below are rounding
HEIGHT = 360


@dataclass(frozen=True, eq=False)
class Record:
    """What one run recorded of one unit under one name: `values` (S, k), or (S,) for single numbers, at `steps` (S,)."""

    run: str  # as figures name it
    steps: np.ndarray
    values: np.ndarray

    def place_at(self, step: int) -> int:
        """The last recorded at or before `step`; the first if all are later."""
        return max(0, int(np.searchsorted(self.steps, step, side="right")) - 1)


@dataclass(frozen=True)
class Scene:
    """What all figures of one view share. `runs`: the names of all runs in their order; `steps`: the dial's."""

    runs: tuple[str, ...]
    pinned: str
    steps: tuple[int, ...]
    theme: Theme
    uirevision: str

    def blank(self, title: str) -> go.Figure:
        figure = blank(title, self.theme, height=HEIGHT + (30 if len(self.runs) > 1 else 0), uirevision=self.uirevision)
        figure.update_layout(showlegend=len(self.runs) > 1)
        return figure

    def named(self, run: str) -> str:
        return f"{run} (reference)" if run == self.pinned and len(self.runs) > 1 else run

    def colour(self, run: str) -> str:
        return PALETTES[self.theme].ink if run == self.pinned else series_colour(self.runs.index(run), self.theme)

    def line(self, run: str) -> dict:
        if run == self.pinned:
            return {"width": 3.2, "color": self.colour(run), "dash": "solid"}
        return {"width": 2, "color": self.colour(run), "dash": DASHES[1 + self.runs.index(run) % (len(DASHES) - 1)]}

    def marker(self, run: str) -> dict:
        symbol = SYMBOLS[self.runs.index(run) % len(SYMBOLS)]
        return {"symbol": symbol, "size": 7 if run == self.pinned else 6, "color": self.colour(run)}

    def titles(self, words: str) -> list[str]:
        """`words` with each step of the dial."""
        return [f"{words} at step {step}" for step in self.steps]

    def over_dial(self, record: Record, read: Callable[[np.ndarray], np.ndarray]) -> list[np.ndarray]:
        """`read` of the values (k,) that hold at each step of the dial."""
        return [read(record.values[record.place_at(step)]) for step in self.steps]


def spectrum_at(records: Sequence[Record], scene: Scene, *, log: bool = True) -> Scrubbed:
    """Singular values over the largest at the step of the dial (paper, figure 3); all of a single run's steps faint behind.

    `values` (S, k), descending.
    """
    figure = scene.blank("")
    longest = max(record.values.shape[1] for record in records)
    stride = max(1, -(-longest // POINTS))
    if len(scene.runs) == 1:
        figure.add_traces(list(_trail(records[0], stride, scene.theme)))  # at once: one by one they take twice as long
    scrubbed = Scrubbed(figure)
    for record in records:
        drawn = scene.over_dial(record, lambda one: np.maximum(one[::stride], FLOOR))
        figure.add_scatter(
            x=1 + np.arange(0, record.values.shape[1], stride, dtype=np.int32),
            y=drawn[0].astype(np.float32),
            mode="lines",
            line=scene.line(record.run),
            name=scene.named(record.run),
            hovertemplate=f"<b>{record.run}</b><br>singular value %{{x}}: %{{y:.3g}} of the largest<extra></extra>",
            uid=f"at-{record.run}",
        )
        scrubbed.move_trace(STEP, f"at-{record.run}", y=drawn)
    scrubbed.move_layout(STEP, "title.text", scene.titles(SPECTRUM.title))
    figure.update_xaxes(title="index of the singular value")
    lowest = max(FLOOR, min(float(record.values.min()) for record in records))
    if log:
        low = np.log10(lowest)
        figure.update_yaxes(type="log", range=[low - 0.05 * abs(low) - 0.02, 0.05], minor={"showgrid": False})
        figure.update_yaxes(**log_ticks(fine=lowest > 2e-2))
    else:
        figure.update_yaxes(range=[0, 1.03])
    figure.update_yaxes(title=SPECTRUM.unit)
    return scrubbed


def measure_over_steps(
    records: Sequence[Record],
    scene: Scene,
    *,
    title: str,
    y_title: str,
    number: str = ".3g",
    levels: Sequence[tuple[str, float]] = (),
    log: bool = False,
    limit: float | None = None,
) -> Scrubbed:
    """One number over steps, `values` (S,), with the dial's step marked. `levels`: (name, value) of horizontal lines to read
    it against, such as what real data reach; `limit`: the axis begins at 0 and ends at this or not far above the highest."""
    figure = scene.blank(title)
    scrubbed = Scrubbed(figure)
    for record in records:
        add_course(figure, scene, record, record.values, f"%{{y:{number}}}")
    palette = PALETTES[scene.theme]
    for place, (name, level) in enumerate(levels):
        figure.add_hline(
            y=level,
            line={"color": palette.ink, "width": 1.5, "dash": ("2px,3px", "8px,3px,2px,3px")[place % 2]},
            annotation={
                "text": name,
                "font": {"size": 11, "color": palette.ink},
                "xanchor": "right",
                "yanchor": "bottom",
            }
            | {"x": 1.0, "bgcolor": faint(palette.page, 0.7)},
        )
    add_cursor(scrubbed, scene)
    figure.update_yaxes(title=y_title)
    if log:
        figure.update_yaxes(type="log", exponentformat="none", minor={"showgrid": False}, **log_ticks())
    elif limit is not None:
        highest = max([level for _, level in levels] + [float(np.nanmax(record.values)) for record in records])
        figure.update_yaxes(range=[0, axis_top(highest, limit)])
    return scrubbed


def axis_top(highest: float, limit: float) -> float:
    """The upper end of an axis from 0."""
    return min(limit, 1.2 * float(highest)) if highest > 0 else limit


def _trail(record: Record, stride: int, theme: Theme) -> Iterator[dict]:
    chosen = np.unique(np.linspace(0, len(record.steps) - 1, min(TRAIL, len(record.steps))).round().astype(int))
    for at, colour in zip(chosen, steps_colours(len(chosen), theme), strict=True):
        red, green, blue = colour.removeprefix("rgb(").removesuffix(")").split(",")
        values = np.maximum(record.values[at, ::stride], FLOOR)
        yield {
            "type": "scatter",
            "x": 1 + np.arange(0, record.values.shape[1], stride, dtype=np.int32),
            "y": values.astype(np.float32),
            "mode": "lines",
            "line": {"width": 1.2, "color": f"rgba({red},{green},{blue},0.6)"},
            "name": f"step {record.steps[at]}",
            "showlegend": False,
            "hovertemplate": f"step {record.steps[at]}, singular value %{{x}}: %{{y:.3g}}<extra></extra>",
            "uid": f"trail-{record.steps[at]}",
        }


def add_course(figure: go.Figure, scene: Scene, record: Record, values: np.ndarray, number: str) -> None:
    dense = len(record.steps) > 60
    figure.add_scatter(
        x=record.steps.astype(np.int32),
        y=np.asarray(values, np.float32),
        mode="lines" if dense else "lines+markers",
        line=scene.line(record.run),
        marker=scene.marker(record.run),
        name=scene.named(record.run),
        hovertemplate=f"<b>{record.run}</b>, step %{{x}}: {number}<extra></extra>",
        uid=f"over-{record.run}",
    )


def add_cursor(scrubbed: Scrubbed, scene: Scene) -> None:
    """A vertical line at the dial's step; horizontal lines of the figure are shapes that stand before it."""
    figure = scrubbed.figure
    place = len(figure.layout.shapes)
    figure.add_shape(vertical_line(scene.steps[0], PALETTES[scene.theme].accent))
    for end in ("x0", "x1"):
        scrubbed.move_layout(STEP, f"shapes[{place}].{end}", scene.steps)
    figure.update_xaxes(title="optimiser step")


def vertical_line(x: float, colour: str) -> dict:
    line = {"color": colour, "width": 2, "dash": "dot"}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line}

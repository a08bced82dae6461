"""Figures of one unit's anchors over steps, for one run or several overlaid, which follow the step dial.

Colour, dash and symbol identify a run. The pinned reference is a thick solid line in the text colour, labelled as reference.
`anchors_alignment.py` draws the alignment with real data, `ridge.py` the spectra of many units at once.
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

STEP, SHARE = "step", "share"  # names of the dials
POINTS = 256  # longer spectra are thinned to every n-th value
TRAIL = 24  # faint curves of other steps behind the current one
FLOOR = 1e-8  # singular values below this are rounding error
HEIGHT = 360


@dataclass(frozen=True, eq=False)
class Record:
    """One recorded series of one unit in one run: `values` (S, k), or (S,) for scalars, at `steps` (S,)."""

    run: str  # its name in figures
    steps: np.ndarray
    values: np.ndarray

    def index_at(self, step: int) -> int:
        """Index of the last value at or before `step`; 0 if all are later."""
        return max(0, int(np.searchsorted(self.steps, step, side="right")) - 1)


@dataclass(frozen=True)
class Scene:
    """What all figures of one view share. `runs`: names of all runs, in order; `steps`: positions of the step dial."""

    runs: tuple[str, ...]
    pinned: str
    steps: tuple[int, ...]
    theme: Theme
    uirevision: str

    @property
    def height(self) -> int:
        """Pixels of a figure, with a legend if there are several runs."""
        return HEIGHT + (30 if len(self.runs) > 1 else 0)

    def blank(self, title: str) -> go.Figure:
        figure = blank(title, self.theme, height=self.height, uirevision=self.uirevision)
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
        """`words` followed by each step of the dial."""
        return [f"{words} at step {step}" for step in self.steps]

    def over_dial(self, record: Record, read: Callable[[np.ndarray], np.ndarray]) -> list[np.ndarray]:
        """`read` applied to the values (k,) that hold at each step of the dial."""
        return [read(record.values[record.index_at(step)]) for step in self.steps]


def spectrum_at(records: Sequence[Record], scene: Scene, *, log: bool = True) -> Scrubbed:
    """Singular values over the largest at the dial's step (paper, figure 3). A single run's other steps lie faintly behind.

    `values` (S, k), descending.
    """
    figure = scene.blank("")
    longest = max(record.values.shape[1] for record in records)
    stride = max(1, -(-longest // POINTS))
    if len(scene.runs) == 1:
        figure.add_traces(list(_trail(records[0], stride, scene.theme)))  # one call: one per trace takes twice as long
    scrubbed = Scrubbed(figure)
    for record in records:
        drawn = scene.over_dial(record, lambda values: np.maximum(values[::stride], FLOOR))
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
    """A scalar over steps, `values` (S,), with the dial's step marked.

    `levels`: (name, value) of horizontal reference lines, such as the value of real data. `limit`: the axis starts at 0
    and ends a little above the highest value, at most here.
    """
    figure = scene.blank(title)
    scrubbed = Scrubbed(figure)
    for record in records:
        add_course(figure, scene, record, record.values, f"%{{y:{number}}}")
    palette = PALETTES[scene.theme]
    for index, (name, level) in enumerate(levels):
        figure.add_hline(
            y=level,
            line={"color": palette.ink, "width": 1.5, "dash": ("2px,3px", "8px,3px,2px,3px")[index % 2]},
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
    """The upper end of an axis that starts at 0: a little above `highest`, at most `limit`."""
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
    """A vertical line at the dial's step. It is a shape, numbered after the horizontal lines that the figure has already."""
    figure = scrubbed.figure
    index = len(list(figure.select_shapes()))
    figure.add_shape(vertical_line(scene.steps[0], PALETTES[scene.theme].accent))
    for end in ("x0", "x1"):
        scrubbed.move_layout(STEP, f"shapes[{index}].{end}", scene.steps)
    figure.update_xaxes(title="optimiser step")


def vertical_line(x: float, colour: str) -> dict:
    line = {"color": colour, "width": 2, "dash": "dot"}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line}

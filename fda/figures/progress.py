"""Progress of a run's units as a map: a row per task or method, a column per block, the state as a mark in each cell."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from fda.figures.theme import Theme, add_cell_text, blank, progress_scale
from fda.measures import PROGRESS
from fda.store.records import Unit

MARKS = {"pending": "·", "running": "▸", "done": "✓", "failed": "✕"}
UNCHANGED_MARK = "="  # done without anchors: the task does not change this block
ROW_PIXELS = 42
WIDE = 14  # with more columns a cell has no room for its loss


def progress_map(
    units: Sequence[Unit],
    theme: Theme,
    *,
    title: str,
    loss: str | None = PROGRESS.unit,
    titles: Mapping[str, str] | None = None,
    uirevision: str | None = None,
) -> go.Figure:
    """`units`: of stages whose units share names. `loss`: what `Unit.loss` holds, in words. `titles`: name → row title.

    Block -1 (a unit without a block) is the last column, called `score`.
    """
    names = list(dict.fromkeys(unit.key.name for unit in units))
    blocks = sorted({unit.key.block for unit in units}, key=lambda block: (block < 0, block))
    cells = {(unit.key.name, unit.key.block): unit for unit in units}
    titles = titles or {}
    compact = len(blocks) > WIDE
    z, text, hover = [], [], []
    for name in names:
        row = [cells.get((name, block)) for block in blocks]
        z.append([None if unit is None else fraction(unit) for unit in row])
        text.append(["" if unit is None else _cell(unit, compact) for unit in row])
        hover.append(["" if unit is None else _hover(unit, titles.get(name, name), loss) for unit in row])
    columns = ["score" if block < 0 else str(block) for block in blocks]
    rows = [titles.get(name, name) for name in names]
    figure = blank(title, theme, height=100 + ROW_PIXELS * max(1, len(names)), uirevision=uirevision)
    figure.add_heatmap(
        x=columns,
        y=rows,
        z=z,
        customdata=hover,
        hovertemplate="%{customdata}<extra></extra>",
        colorscale=progress_scale(theme),
        zmin=0,
        zmax=1,
        showscale=False,
        xgap=3,
        ygap=3,
    )
    add_cell_text(figure, columns, rows, text, np.array(z, float).reshape(len(rows), -1), progress_scale(theme))
    figure.update_xaxes(title="block", type="category", showgrid=False, ticks="")
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False, ticks="")
    return figure


def fraction(unit: Unit) -> float:
    """The share of a unit that is done, 0..1. A pending unit is at 0, even after an interrupted attempt."""
    if unit.state in ("done", "pending") or not unit.steps:
        return float(unit.state == "done")
    return min(1.0, unit.step / unit.steps)


def _cell(unit: Unit, compact: bool) -> str:
    mark = f"<b>{UNCHANGED_MARK if unit.unchanged else MARKS[unit.state]}</b>"
    if unit.state == "running":
        mark = f"{mark} {fraction(unit):.0%}"
    if unit.loss is None or compact or unit.state in ("pending", "failed"):
        return mark
    return f"{mark}<br>{unit.loss:.3f}"


def _hover(unit: Unit, name: str, loss: str | None) -> str:
    where = name if unit.key.block < 0 else f"{name}, block {unit.key.block}"
    lines = [f"<b>{where}</b>", f"{unit.state}: {unit.step} of {unit.steps} steps ({fraction(unit):.0%})"]
    if unit.loss is not None and loss:
        lines.append(f"{loss} {unit.loss:.4f}" + (f" at step {unit.best_step}" if unit.best_step is not None else ""))
    if unit.seconds is not None:
        lines.append(f"{unit.seconds:.1f} s")
    if unit.message:
        lines.append(unit.message)
    return "<br>".join(lines)

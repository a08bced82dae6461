"""A run's units as a map: a row per task or method, a column per block; finished cells show their loss or score."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from fda.escape import plotly
from fda.figures.theme import PALETTES, Theme, add_cell_text, blank, progress_scale, sequential
from fda.measures import PROGRESS
from fda.store.records import Unit, UnitKey

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
    scores: Mapping[str, float] | None = None,
    chosen: UnitKey | None = None,
    uirevision: str | None = None,
) -> go.Figure:
    """`units`: of stages whose units share names. `loss`: what `Unit.loss` holds, in words. `titles`: name → row title;
    `scores`: name → average score, 0..1, of the methods that are scored. `chosen`: the unit whose cell is framed.

    Unfinished cells are coloured by progress, finished ones by their loss on a scale that all share and that begins at 0, so
    that the worst unit stands out. Block -1 (a unit without a block) is the last column, called `score`.
    """
    names = list(dict.fromkeys(unit.key.name for unit in units))
    blocks = sorted({unit.key.block for unit in units}, key=lambda block: (block < 0, block))
    cells = {(unit.key.name, unit.key.block): unit for unit in units}
    titles = titles or {}
    compact = len(blocks) > WIDE
    progress, losses, text, hover = [], [], [], []
    for name in names:
        row = [cells.get((name, block)) for block in blocks]
        losses.append([None if unit is None else _final_loss(unit) for unit in row])
        progress.append([None if unit is None or _final_loss(unit) is not None else fraction(unit) for unit in row])
        text.append(["" if unit is None else _cell(unit, compact, (scores or {}).get(name)) for unit in row])
        hover.append(["" if unit is None else _hover(unit, titles.get(name, name), loss) for unit in row])
    columns = ["score" if block < 0 else str(block) for block in blocks]
    rows = [titles.get(name, name) for name in names]
    figure = blank(title, theme, height=100 + ROW_PIXELS * max(1, len(names)), uirevision=uirevision)
    worst = max((value for row in losses for value in row if value is not None), default=1.0) or 1.0
    for z, scale, top in ((progress, progress_scale(theme), 1.0), (losses, sequential(), worst)):
        at = np.array(z, float).reshape(len(rows), -1)
        if np.isnan(at).all():
            continue
        figure.add_heatmap(
            x=columns,
            y=rows,
            z=z,
            customdata=hover,
            hovertemplate="%{customdata}<extra></extra>",
            hoverongaps=False,
            colorscale=scale,
            zmin=0,
            zmax=top,
            showscale=False,
            xgap=3,
            ygap=3,
        )
        add_cell_text(figure, columns, rows, text, at / top, scale)
    if chosen is not None and (chosen.name, chosen.block) in cells:
        column, row = blocks.index(chosen.block), names.index(chosen.name)
        frame = {"width": 3, "color": PALETTES[theme].ink}
        figure.add_shape(x0=column - 0.5, x1=column + 0.5, y0=row - 0.5, y1=row + 0.5, line=frame)
    figure.update_xaxes(title="block", type="category", showgrid=False, ticks="")
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False, ticks="")
    return figure


def fraction(unit: Unit) -> float:
    """The share of a unit that is done, 0..1. A pending unit is at 0, even after an interrupted attempt."""
    if unit.state in ("done", "pending") or not unit.steps:
        return float(unit.state == "done")
    return min(1.0, unit.step / unit.steps)


def _final_loss(unit: Unit) -> float | None:
    return unit.loss if unit.state == "done" else None


def _cell(unit: Unit, compact: bool, score: float | None) -> str:
    if unit.state == "done" and unit.key.block < 0 and score is not None:
        return f"<b>{100 * score:.1f}</b>"
    if unit.state == "done" and unit.loss is not None and not compact:
        return f"{unit.loss:.3f}"
    mark = f"<b>{UNCHANGED_MARK if unit.unchanged else MARKS[unit.state]}</b>"
    if unit.state == "running":
        mark = f"{mark} {100 * fraction(unit):.0f} %"
    if unit.loss is None or compact or unit.state in ("pending", "failed"):
        return mark
    return f"{mark}<br>{unit.loss:.3f}"


def _hover(unit: Unit, name: str, loss: str | None) -> str:
    where = name if unit.key.block < 0 else f"{name}, block {unit.key.block}"
    lines = [f"<b>{where}</b>", f"{unit.state}: {unit.step} of {unit.steps} steps ({100 * fraction(unit):.0f} %)"]
    if unit.loss is not None and loss:
        lines.append(f"{loss} {unit.loss:.4f}" + (f" at step {unit.best_step}" if unit.best_step is not None else ""))
    if unit.seconds is not None:
        lines.append(f"{unit.seconds:.1f} s")
    if unit.node is not None:
        lines.append(f"on node {plotly(unit.node)}")
    if unit.message:
        lines.append(unit.message)
    return "<br>".join(lines)

"""A zoo's checkpoints: task-vector norms by block, cosines between task vectors, and how methods treat each tensor."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from fda.analysis.norms import times_the_others
from fda.figures.theme import PALETTES, Theme, add_cell_text, blank, diverging, sequential, series_colour

ROW_PIXELS = 38
UNLIKE = 3.0  # times the others' median norm: a ninth, or nine times, the energy
NEAR = 0.25  # |cosine|: task vectors of one base are seldom closer, and interfere little below it
WIDE = 14  # with more columns a cell has no room for its number
NARROW = 0.06  # share of a bar that six letters take
TREATMENTS = ("linear weight", "other matrix", "vector", "untouched")


def norm_map(norms: np.ndarray, theme: Theme, *, tasks: Sequence[str], uirevision: str | None = None) -> go.Figure:
    """`norms` (tasks, blocks): ‖τ‖ of each task vector restricted to a block."""
    figure = blank("Task-vector norm by block", theme, height=110 + ROW_PIXELS * len(tasks), uirevision=uirevision)
    largest = max(float(norms.max(initial=0.0)), 1e-30)
    figure.add_heatmap(
        x=[str(block) for block in range(norms.shape[1])],
        y=list(tasks),
        z=norms.astype(np.float32),
        zmin=0,  # plotly.js ignores zmin without zmax
        zmax=largest,
        colorscale=sequential(),
        showscale=False,
        hovertemplate="<b>%{y}</b>, block %{x}<br>‖τ‖ = %{z:.4f}<extra></extra>",
        xgap=2,
        ygap=2,
    )
    if norms.shape[1] <= WIDE:
        columns = [str(block) for block in range(norms.shape[1])]
        _add_numbers(figure, columns, tasks, norms, norms / largest, sequential())
    figure.update_xaxes(title="block", type="category", showgrid=False, ticks="")
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False, ticks="")
    return figure


def cosine_map(
    cosines: np.ndarray, theme: Theme, *, tasks: Sequence[str], where: str = "all blocks", uirevision: str | None = None
) -> go.Figure:
    """`cosines` (tasks, tasks) between task vectors. The diagonal, 1 by definition, stays empty.

    The scale ends at NEAR or the largest off-diagonal |cosine|, so that vectors near a right angle look as alike as they are.
    """
    shown = np.array(cosines, np.float32)
    np.fill_diagonal(shown, np.nan)
    bound = max(NEAR, float(np.nanmax(np.abs(shown), initial=0.0)))
    figure = blank(
        f"Cosine between task vectors, {where}", theme, height=130 + ROW_PIXELS * len(tasks), uirevision=uirevision
    )
    figure.add_heatmap(
        x=list(tasks),
        y=list(tasks),
        z=shown,
        zmin=-bound,
        zmax=bound,
        colorscale=diverging(theme),
        colorbar={"thickness": 10, "outlinewidth": 0, "tickvals": [-bound, 0, bound], "tickformat": ".2f"},
        hovertemplate="<b>%{y}</b> and <b>%{x}</b><br>cosine %{z:.4f}<extra></extra>",
        hoverongaps=False,
        xgap=2,
        ygap=2,
    )
    if len(tasks) <= WIDE:
        _add_numbers(figure, tasks, tasks, shown, (shown / bound + 1) / 2, diverging(theme))
    figure.update_xaxes(type="category", showgrid=False, ticks="", tickangle=-35 if len(tasks) > 5 else 0)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False, ticks="")
    return figure


def unlike_norm(norms: Mapping[str, float]) -> str | None:
    """A sentence on the task whose ‖τ‖ differs most from the others' median, if by UNLIKE times; else None."""
    if len(norms) < 3 or min(norms.values()) <= 0:
        return None
    ratios = times_the_others(norms)
    task = max(ratios, key=lambda name: abs(math.log(ratios[name])))
    if max(ratios[task], 1 / ratios[task]) < UNLIKE:
        return None
    length = f"The task vector of {task} is {ratios[task]:.2g} times as long as the others' median"
    if ratios[task] > 1:
        return f"{length}: it dominates where task vectors are added."
    return f"{length}: it counts for little where task vectors are added."


def _add_numbers(
    figure: go.Figure, columns: Sequence[str], rows: Sequence[str], values: np.ndarray, at: np.ndarray, scale: list
) -> None:
    add_cell_text(figure, columns, rows, [[_two_digits(value) for value in row] for row in values], at, scale)


def _two_digits(value: float) -> str:
    """Two decimals, without a minus sign before zero."""
    return f"{value:.2f}".replace("-0.00", "0.00")


def treatment_of(tensor: Mapping[str, Any]) -> str:
    """The member of TREATMENTS for one entry of the survey's `treatments`."""
    if tensor["treatment"] == "matrix":
        return "linear weight" if tensor["linear"] else "other matrix"
    return tensor["treatment"]


def treatment_counts(tensors: Iterable[Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """Treatment → (number of tensors, number of parameters), for those of TREATMENTS that occur, in that order."""
    counts: dict[str, tuple[int, int]] = {kind: (0, 0) for kind in TREATMENTS}
    for tensor in tensors:
        kind = treatment_of(tensor)
        counts[kind] = (counts[kind][0] + 1, counts[kind][1] + math.prod(tensor["shape"]))
    return {kind: count for kind, count in counts.items() if count[0]}


def treatment_bars(counts: Mapping[str, tuple[int, int]], theme: Theme, *, uirevision: str | None = None) -> go.Figure:
    """The share of tensors, and of parameters, that each treatment covers. `counts` comes from `treatment_counts`."""
    figure = blank("How methods treat the tensors", theme, height=150 + 20 * len(counts), uirevision=uirevision)
    rows = ("parameters", "tensors")
    totals = [max(1, sum(count[index] for count in counts.values())) for index in (1, 0)]
    for kind, (tensors, parameters) in counts.items():
        numbers = (parameters, tensors)
        shares = [number / total for number, total in zip(numbers, totals, strict=True)]
        index = TREATMENTS.index(kind)
        figure.add_bar(
            name=f"{kind}: {tensors:,} tensors, {parameters:,} parameters",
            uid=kind,
            x=shares,
            y=rows,
            orientation="h",
            text=[kind if share >= NARROW * len(kind) / 6 else "" for share in shares],
            textposition="inside",
            insidetextanchor="middle",
            insidetextfont={"color": PALETTES[theme].page},
            textangle=0,
            customdata=[f"{number:,} {row}" for number, row in zip(numbers, rows, strict=True)],
            hovertemplate=f"<b>{kind}</b><br>%{{customdata}}, %{{x:.1%}}<extra></extra>",
            marker={"color": series_colour(index, theme), "line": {"color": PALETTES[theme].page, "width": 2}},
        )
    legend = {"orientation": "v", "traceorder": "normal", "y": -0.05, "itemclick": False, "itemdoubleclick": False}
    figure.update_layout(barmode="stack", bargap=0.25, legend=legend, uniformtext={"minsize": 10, "mode": "hide"})
    figure.update_xaxes(range=[0, 1], showgrid=False, showticklabels=False, ticks="")
    figure.update_yaxes(type="category", showgrid=False, ticks="")
    return figure

"""What lies in a zoo's checkpoints: size of the task vectors by block, and the angles between them."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from fda.figures.look import Theme, add_cell_text, blank, diverging, sequential

ROW_PIXELS = 38
WIDE = 14  # with more columns than this a cell has no room for its number


def norm_map(norms: np.ndarray, theme: Theme, *, tasks: Sequence[str], uirevision: str | None = None) -> go.Figure:
    """`norms` (tasks, blocks): ‖τ‖ of each task vector restricted to a block."""
    figure = blank("Task-vector norm by block", theme, height=110 + ROW_PIXELS * len(tasks), uirevision=uirevision)
    figure.add_heatmap(
        x=[str(block) for block in range(norms.shape[1])],
        y=list(tasks),
        z=norms.astype(np.float32),
        zmin=0,
        colorscale=sequential(),
        showscale=False,
        hovertemplate="<b>%{y}</b>, block %{x}<br>‖τ‖ = %{z:.4f}<extra></extra>",
        xgap=2,
        ygap=2,
    )
    if norms.shape[1] <= WIDE:
        columns = [str(block) for block in range(norms.shape[1])]
        _add_numbers(figure, columns, tasks, norms, norms / max(float(norms.max(initial=0.0)), 1e-30), sequential())
    figure.update_xaxes(title="block", type="category", showgrid=False, ticks="")
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False, ticks="")
    return figure


def cosine_map(
    cosines: np.ndarray, theme: Theme, *, tasks: Sequence[str], where: str = "all blocks", uirevision: str | None = None
) -> go.Figure:
    """`cosines` (tasks, tasks) between task vectors. The diagonal is 1 by definition and left empty.

    The scale ends at the largest |cosine| found off the diagonal: on a scale to 1 they would all look alike.
    """
    shown = np.array(cosines, np.float32)
    np.fill_diagonal(shown, np.nan)
    bound = max(0.01, float(np.nanmax(np.abs(shown), initial=0.0)))
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
        showscale=False,
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


def _add_numbers(
    figure: go.Figure, columns: Sequence[str], rows: Sequence[str], values: np.ndarray, at: np.ndarray, scale: list
) -> None:
    add_cell_text(figure, columns, rows, [[_two_digits(value) for value in row] for row in values], at, scale)


def _two_digits(value: float) -> str:
    """0.02, and no minus before a zero."""
    return f"{value:.2f}".replace("-0.00", "0.00")

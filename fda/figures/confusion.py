"""A confusion matrix: how often each true class is given each class."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from fda.escape import plotly
from fda.figures.theme import PALETTES, Theme, add_cell_text, blank, sequential

MOST_TEXTS = 20  # classes; with more, numbers in the cells could not be read


def confusion_figure(
    classes: Sequence[str],
    counts: np.ndarray,
    theme: Theme,
    *,
    title: str,
    chosen: tuple[int | None, int | None] = (None, None),
    uirevision: str | None = None,
) -> go.Figure:
    """`counts` (k, k): samples by true class (rows) and predicted class (columns). Colour: the share of the row.

    `chosen`: the row and the column that are framed, or the cell if both are given.
    """
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    names = axis_names(classes)
    figure = blank(title, theme, height=max(300, 110 + 24 * len(names)), uirevision=uirevision)
    figure.add_heatmap(
        x=names,
        y=names,
        z=shares.astype(np.float32),
        customdata=counts,
        hovertemplate="true %{y}, predicted %{x}<br>%{customdata:,} samples, %{z:.1%} of true %{y}<extra></extra>",
        colorscale=sequential(),
        zmin=0,
        zmax=1,
        showscale=False,
        xgap=1,
        ygap=1,
        uid="cells",
    )
    if len(names) <= MOST_TEXTS:
        words = [[f"{count:,}" if count else "" for count in row] for row in counts.tolist()]
        add_cell_text(figure, names, names, words, shares, sequential())
    row, column = chosen
    if row is not None or column is not None:
        frame = {"width": 3, "color": PALETTES[theme].ink}
        (x0, x1), (y0, y1) = _span(column, len(names)), _span(row, len(names))
        figure.add_shape(x0=x0, x1=x1, y0=y0, y1=y1, line=frame)
    figure.update_xaxes(title="predicted class", type="category", showgrid=False, ticks="")
    figure.update_yaxes(title="true class", type="category", showgrid=False, ticks="", autorange="reversed")
    return figure


def confusion_alt(classes: Sequence[str], counts: np.ndarray, title: str) -> str:
    """The alternative text: the share of right answers and the commonest mistake."""
    total, right = int(counts.sum()), int(np.trace(counts))
    wrong = counts - np.diag(np.diag(counts))
    words = f"{title}: {right:,} of {total:,} samples on the diagonal"
    if not wrong.any():
        return words
    row, column = divmod(int(wrong.argmax()), wrong.shape[1])
    return f"{words}; most often {classes[row]} is taken for {classes[column]}, {int(wrong[row, column]):,} times"


def _span(index: int | None, count: int) -> tuple[float, float]:
    """Where the cells of this index begin and end on an axis of `count` classes; None: all."""
    return (-0.5, count - 0.5) if index is None else (index - 0.5, index + 0.5)


def axis_names(classes: Sequence[str]) -> list[str]:
    """Escaped names on the axes, of which no two are equal: Plotly would draw equal ones as one row."""
    names, seen = [], set()
    for number, name in enumerate(classes):
        short = plotly(name if len(name) <= 24 else f"{name[:23]}…")
        names.append(short if short not in seen else f"{short} ({number})")
        seen.add(names[-1])
    return names

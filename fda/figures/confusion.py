"""A confusion matrix: how often each true class is given each class."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from fda.escape import plotly
from fda.figures.theme import Theme, add_cell_text, blank, sequential

MOST_TEXTS = 20  # classes; with more, numbers in the cells could not be read


def confusion_figure(
    classes: Sequence[str], counts: np.ndarray, theme: Theme, *, title: str, uirevision: str | None = None
) -> go.Figure:
    """`counts` (k, k): samples by true class (rows) and predicted class (columns). Colour: the share of the row."""
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    names = _unlike(classes)
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


def _unlike(classes: Sequence[str]) -> list[str]:
    """Escaped names of an axis, of which no two are equal: Plotly would draw equal ones as one row."""
    names, seen = [], set()
    for number, name in enumerate(classes):
        short = plotly(name if len(name) <= 24 else f"{name[:23]}…")
        names.append(short if short not in seen else f"{short} ({number})")
        seen.add(names[-1])
    return names

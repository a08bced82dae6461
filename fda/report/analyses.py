"""The panels of the view Analyses: their words, and their figures and sentences from the tables that a run keeps.

The page, the run report and `python -m fda analyse` use this list. `fda.stages.analyses` computes the tables. Imports no torch
and no streamlit.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from fda.figures.covariance import STAND_INS, TITLES, Agreement, covariance_figure
from fda.figures.theme import Theme
from fda.store.analyses import PANELS, Panel, Table, load_table
from fda.store.records import Run
from fda.store.store import Store

EVERY_TASK = "all tasks"


@dataclass(frozen=True)
class AnalysisView:
    """The reader's choices; None: the panel's own."""

    task: str = EVERY_TASK
    method: str | None = None


@dataclass(frozen=True)
class Drawn:
    """A panel's figure with its finding and its alternative text."""

    make: Callable[[], go.Figure]
    sentence: str
    alt: str


@dataclass(frozen=True)
class Words:
    """`title`: the tab's. `asks`: the question that the panel answers. `help`: definition, how to read it, and source, in
    Markdown. `by`: which of the view's choices the figure obeys."""

    title: str
    asks: str
    help: str
    by: tuple[str, ...] = ()


WORDS: dict[Panel, Words] = {
    "covariance": Words(
        "Covariance",
        "How close are anchors, and the task vector alone, to the second moments of a layer's real inputs?",
        r"""For the inputs $x$ of a linear layer of the finetuned model, $C = \mathbb{E}\,[x x^\top]$. The figure shows

$$\cos(\hat C, C) = \frac{\langle \hat C, C\rangle}{\|\hat C\|_F\,\|C\|_F}$$

for $\hat C = \tau^\top\tau$ of the task vector, and for the tokens of the anchors. *Other real samples* is what real data
reach, the identity matrix what is reached without any knowledge. A closed form such as RegMean or ACTMat is as good as its
$\hat C$: at 1 it has the real matrix. Bars reach from the lowest task to the highest.

Source: [ACTMat](https://arxiv.org/abs/2604.01329) takes $\tau^\top\tau$ in place of $C$.""",
        by=("task",),
    ),
}


def frame(table: Table) -> pd.DataFrame:
    """The table as it is stored: the CSV file, and what the command line prints."""
    return pd.DataFrame(dict(table.columns))


def drawn(panel: Panel, table: Table, view: AnalysisView, theme: Theme, *, uirevision: str | None = None) -> Drawn:
    """The panel's figure for the reader's choices."""
    return _DRAW[panel](frame(table), view, theme, uirevision)


def computed(store: Store, run: Run, panels: Sequence[Panel] = PANELS) -> dict[Panel, Table]:
    """Those of the panels that the run keeps. UserError if one of them cannot be read."""
    folder = store.run_dir(run.run_id)
    tables = {panel: load_table(folder, panel) for panel in panels}
    return {panel: table for panel, table in tables.items() if table is not None}


def _covariance(rows: pd.DataFrame, view: AnalysisView, theme: Theme, uirevision: str | None) -> Drawn:
    rows = _of_task(rows, view)
    found = {
        layer: {name: _agreement(of_layer, name) for name in STAND_INS}
        for layer, of_layer in rows.groupby("layer", sort=False)
    }
    means = {TITLES[name]: rows[name].mean() for name in STAND_INS}
    known = ", ".join(f"{title} {mean:.2f}" for title, mean in means.items() if math.isfinite(mean))
    return Drawn(
        lambda: covariance_figure(found, theme, of=view.task, uirevision=uirevision),
        f"Mean cosine over {view.task} and all layers: {known}.",
        f"Agreement with the real input Gram matrix by block and layer, {view.task}: {known}",
    )


def _agreement(rows: pd.DataFrame, name: str) -> Agreement:
    by_block = rows.groupby("block")[name]
    mean = by_block.mean()
    return Agreement(mean.index.tolist(), mean.tolist(), by_block.min().tolist(), by_block.max().tolist())


def _of_task(rows: pd.DataFrame, view: AnalysisView) -> pd.DataFrame:
    return rows if view.task == EVERY_TASK else rows[rows["task"] == view.task]


_DRAW: dict[Panel, Callable[[pd.DataFrame, AnalysisView, Theme, str | None], Drawn]] = {"covariance": _covariance}

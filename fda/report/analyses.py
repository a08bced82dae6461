"""The panels of the view Analyses: their words, and their figures and sentences from the tables that a run keeps.

The page, the run report and `python -m fda analyse` use this list. `fda.stages.analyses` computes the tables. Imports no torch
and no streamlit.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from fda.errors import readable
from fda.figures.covariance import STAND_INS, TITLES, Agreement, covariance_figure
from fda.figures.disentanglement import MOST_MAPS, disentanglement_maps
from fda.figures.drift import PARTS, drift_figure
from fda.figures.interference import LayerInterference, interference_figure
from fda.figures.tasks_added import tasks_added_figure
from fda.figures.theme import Theme
from fda.figures.updates import Aligned, accumulation_map, alignment_scatter
from fda.report.comparison import kind_of, titles
from fda.store.analyses import PANELS, Panel, Table, load_table
from fda.store.records import Run
from fda.store.store import Store

EVERY_TASK = "all tasks"
Rows = Any  # a DataFrame: the types of pandas do not follow what is grouped


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
    """`title`: the tab's. `asks`: the question that the panel answers. `by`: which of the view's choices the figure obeys.

    Definition, how to read the figure, and source are in `assets/texts/analyses/PANEL.md`.
    """

    title: str
    asks: str
    by: tuple[str, ...] = ()


WORDS: dict[Panel, Words] = {
    "covariance": Words(
        "Covariance",
        "How close are anchors, and the task vector alone, to the second moments of a layer's real inputs?",
        by=("task",),
    ),
    "interference": Words(
        "Interference",
        "Where do the task vectors get in each other's way?",
    ),
    "over_accumulation": Words(
        "Over-accumulation",
        "Which parts of a task does the merged model hold more than once, and which does it lack?",
        by=("method",),
    ),
    "alignment": Words(
        "Alignment",
        "Does a method do better on the tasks whose weights lie in the space of its merged update?",
    ),
    "drift": Words(
        "Drift",
        "In which blocks does a merged model leave the path of the experts?",
        by=("task", "method"),
    ),
    "tasks_added": Words(
        "Tasks added",
        "How much of the experts' accuracy is kept as more tasks are merged?",
    ),
    "disentanglement": Words(
        "Disentanglement",
        "How far can one task be moved before another task's answers change?",
        by=("task",),
    ),
}


def frame(table: Table) -> pd.DataFrame:
    """The table as it is stored: the CSV file, and what the command line prints."""
    return pd.DataFrame(dict(table.columns))


def panel_text(panel: Panel, table: Table) -> str:
    """The panel for a terminal: its question, its numbers and its notes."""
    numbers = frame(table).to_string(index=False, float_format="{:.4f}".format, na_rep="–")
    lines = [f"{panel}: {WORDS[panel].asks}", *numbers.split("\n"), *(f"note: {note}" for note in table.notes)]
    return "\n".join(map(readable, lines))  # layers have strangers' names


def drawn(panel: Panel, table: Table, view: AnalysisView, theme: Theme, *, uirevision: str | None = None) -> Drawn:
    """The panel's figure for the reader's choices."""
    return _DRAW[panel](frame(table), view, theme, uirevision)


def computed(store: Store, run: Run, panels: Sequence[Panel] = PANELS) -> dict[Panel, Table]:
    """Those of the panels that the run keeps. UserError if one of them cannot be read."""
    folder = store.run_dir(run.run_id)
    tables: dict[Panel, Table | None] = {panel: load_table(folder, panel) for panel in panels}
    return {panel: table for panel, table in tables.items() if table is not None}


def _covariance(rows: Rows, view: AnalysisView, theme: Theme, uirevision: str | None) -> Drawn:
    rows = _of_task(rows, view)
    agreements = {
        layer: {name: _agreement(of_layer, name) for name in STAND_INS}
        for layer, of_layer in rows.groupby("layer", sort=False)
    }
    means = {TITLES[name]: rows[name].mean() for name in STAND_INS}
    known = ", ".join(f"{title} {mean:.2f}" for title, mean in means.items() if math.isfinite(mean))
    return Drawn(
        lambda: covariance_figure(agreements, theme, of=view.task, uirevision=uirevision),
        f"Mean cosine over {view.task} and all layers: {known}.",
        f"Agreement with the real input Gram matrix by block and layer, {view.task}: {known}",
    )


def _agreement(rows: Rows, name: str) -> Agreement:
    by_block = rows.groupby("block")[name]
    mean = by_block.mean()
    return Agreement(mean.index.tolist(), mean.tolist(), by_block.min().tolist(), by_block.max().tolist())


def _of_task(rows: Rows, view: AnalysisView) -> Rows:
    return rows if view.task == EVERY_TASK else rows[rows["task"] == view.task]


def _interference(rows: Rows, view: AnalysisView, theme: Theme, uirevision: str | None) -> Drawn:
    layers = {
        layer: LayerInterference(one["block"].tolist(), one["interference"].tolist(), one["sign conflict"].tolist())
        for layer, one in rows.groupby("layer", sort=False)
    }
    sentence = f"Mean sign conflict {rows['sign conflict'].mean():.3f}"
    if rows["interference"].notna().any():
        worst = rows.loc[rows["interference"].idxmax()]
        sentence += f"; the highest STI, {worst['interference']:.4g}, is in block {worst['block']}, {worst['layer']}"
    return Drawn(
        lambda: interference_figure(layers, theme, uirevision=uirevision),
        f"{sentence}.",
        f"Interference of the task vectors' singular vectors and signs by block and layer. {sentence}",
    )


def usual_method(methods: Sequence[str]) -> str:
    """The method that a panel of one method shows first: task arithmetic where it was merged."""
    return "ta" if "ta" in methods else methods[0]


def _over_accumulation(rows: Rows, view: AnalysisView, theme: Theme, uirevision: str | None) -> Drawn:
    methods: list[str] = list(dict.fromkeys(rows["method"]))
    method = view.method if view.method in methods else usual_method(methods)
    rows = rows[rows["method"] == method]
    tasks = list(dict.fromkeys(rows["task"]))
    counted = rows.pivot_table(index="task", columns="rank", values="counted", aggfunc="median", dropna=False)
    counted = counted.reindex(tasks).to_numpy(float)
    title = titles([method])[method]
    low, high = np.nanmin(counted[:, 0]), np.nanmax(counted[:, 0])
    first = f"Along its first singular vector, {title} holds between {low:.2f} and {high:.2f}"
    sentence = f"{first} times what the tasks have there; over all shown, the median is {np.nanmedian(counted):.2f}."
    return Drawn(
        lambda: accumulation_map(counted, theme, tasks=tasks, of=title, uirevision=uirevision),
        sentence,
        f"How often {title} counts each task along its singular vectors. {sentence}",
    )


def _alignment(rows: Rows, view: AnalysisView, theme: Theme, uirevision: str | None) -> Drawn:
    methods = {
        method: Aligned(
            one["task"].tolist(),
            one["alignment"].tolist(),
            one["improvement"].tolist(),
            (one["alignment"].mean(), one["improvement"].mean()),
        )
        for method, one in rows.groupby("method", sort=False)
    }
    known = rows.dropna(subset=["alignment", "improvement"])
    sentence = "There are too few scores for a correlation"
    if len(known) > 2 and known["alignment"].nunique() > 1 and known["improvement"].nunique() > 1:
        together = np.corrcoef(known["alignment"], known["improvement"])[0, 1]
        within = known[["alignment", "improvement"]] - known.groupby("task")[["alignment", "improvement"]].transform(
            "mean"
        )
        sentence = f"Correlation of SAR and NAI over all methods and tasks: {together:.2f}"
        if within["alignment"].abs().max() > 0 and within["improvement"].abs().max() > 0:
            sentence += f"; within a task, between methods: {np.corrcoef(*within.to_numpy().T)[0, 1]:.2f}"
    return Drawn(
        lambda: alignment_scatter(
            methods, theme, titles=titles(list(methods)), kinds={method: kind_of(method) for method in methods},
            uirevision=uirevision,
        ),
        f"{sentence}.",
        f"Improvement of each method on each task against the alignment of its update with the task vector. {sentence}",
    )  # fmt: skip


def _drift(rows: Rows, view: AnalysisView, theme: Theme, uirevision: str | None) -> Drawn:
    by_block = _of_task(rows, view).groupby(["method", "block"], sort=False)[list(PARTS)].mean()
    drifts: dict[str, list[float]] = {
        method: by_block.loc[method, "drift"].tolist() for method in dict.fromkeys(rows["method"])
    }
    method = view.method if view.method in drifts else usual_method(list(drifts))
    parts = by_block.loc[method]
    names = titles(list(drifts))
    last = {name: values[-1] for name, values in drifts.items()}
    least = min(last, key=lambda name: (math.isnan(last[name]), last[name]))
    sentence = f"After the last block, {names[least]} has drifted least: {last[least]:.3f}"
    if method != least:
        sentence += f", {names[method]} {last[method]:.3f}"
    return Drawn(
        lambda: drift_figure(
            parts.index.tolist(), drifts, {part: parts[part].tolist() for part in PARTS}, theme,
            titles=names, method=method, of=view.task, uirevision=uirevision,
        ),
        f"{sentence}.",
        f"Feature drift from the experts by block, {view.task}. {sentence}",
    )  # fmt: skip


def _tasks_added(rows: Rows, view: AnalysisView, theme: Theme, uirevision: str | None) -> Drawn:
    mean = rows.groupby(["method", "tasks"], sort=False)["normalised"].mean()
    kept = {method: dict(mean.loc[method].items()) for method in dict.fromkeys(rows["method"])}
    names, most = titles(list(kept)), max(rows["tasks"])
    ends = {method: values[most] for method, values in kept.items() if most in values}
    sentence = "No method was scored"
    if ends:
        best = max(ends, key=lambda method: ends[method])
        sentence = f"With all {most} tasks, {names[best]} keeps most: {100 * ends[best]:.1f} % of the experts' scores"
    return Drawn(
        lambda: tasks_added_figure(kept, theme, titles=names, uirevision=uirevision),
        f"{sentence}.",
        f"Normalised accuracy by the number of merged tasks. {sentence}",
    )


def _disentanglement(rows: Rows, view: AnalysisView, theme: Theme, uirevision: str | None) -> Drawn:
    if view.task != EVERY_TASK:
        rows = rows[(rows["first"] == view.task) | (rows["second"] == view.task)]
    maps = {
        pair: of_pair.pivot_table(index="other alpha", columns="alpha", values="error", dropna=False)
        for pair, of_pair in rows.groupby(["first", "second"], sort=False)
    }
    inside = rows[(rows["alpha"].between(0, 1)) & (rows["other alpha"].between(0, 1))]
    means = inside.groupby(["first", "second"], sort=False)["error"].mean()
    sentence = f"No pair with {view.task} was looked at"
    if len(means):
        worst = means.idxmax()
        sentence = (
            f"Between θ0 and both experts, {worst[0]} and {worst[1]} disturb each other most: on average "
            f"{100 * means.max():.1f} % of their answers change"
        )
    ordered = sorted(maps, key=lambda pair: -means[pair])[:MOST_MAPS]
    return Drawn(
        lambda: disentanglement_maps(
            {pair: (one.columns.tolist(), one.index.tolist(), one.to_numpy(float)) for pair, one in maps.items()
             if pair in ordered}, theme, of=view.task, uirevision=uirevision,
        ),
        f"{sentence}.",
        f"Disentanglement error of pairs of tasks over their coefficients, {view.task}. {sentence}",
    )  # fmt: skip


_DRAW: dict[Panel, Callable[[Rows, AnalysisView, Theme, str | None], Drawn]] = {
    "covariance": _covariance,
    "interference": _interference,
    "over_accumulation": _over_accumulation,
    "alignment": _alignment,
    "drift": _drift,
    "tasks_added": _tasks_added,
    "disentanglement": _disentanglement,
}

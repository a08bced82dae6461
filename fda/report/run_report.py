"""A whole run as one HTML file: what was run, its scores, every figure, the numbers behind them, and how to repeat it.

For the pages' export menus and for `python -m fda report`. What one page shows at the moment is exported by the page.
"""

import json
from collections.abc import Mapping
from importlib.metadata import version
from platform import python_version

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from fda.figures.ridge import spectra
from fda.figures.theme import Theme
from fda.measures import FIGURES, SPECTRUM
from fda.merging.registry import METHODS
from fda.report import landscape, live
from fda.report.anchors import known_settings
from fda.report.cited import Cited
from fda.report.command import run_commands
from fda.report.comparison import BASELINES, Results, cited_for, results
from fda.report.comparison_figures import View, cited_sentence, drawings
from fda.report.comparison_tables import raw_table, reading_table
from fda.report.html import report
from fda.store.landscape_record import MEAN, read_numbers
from fda.store.records import Run, UnitKey
from fda.store.store import Store

Figures = dict[str, tuple[go.Figure, str]]  # name → (figure, the sentence beneath it)
LIBRARIES = ("torch", "transformers", "open_clip_torch", "datasets", "numpy", "scipy")


def run_report(store: Store, run: Run, theme: Theme = "light") -> str:
    """The file's text, about 5 MB more than its data. UserError if the run is gone."""
    found = results(store, run) if run.spec.methods else None
    figures: Figures = {}
    notes, table, data = [], None, {}
    if found is not None and found.methods:
        cited = _cited(store, run)
        figures |= _comparison(found, cited, theme)
        table = reading_table(found, found.methods, cited[1] if cited else None)
        data["results.csv"] = raw_table(found, found.methods, cited[1] if cited else None)
        notes += found.data_notes
        notes += [cited_sentence(cited[0])] if cited else []
    if found is not None:
        notes += [
            f"{METHODS[name].title if name in METHODS else name} failed: {why}" for name, why in found.failed.items()
        ]
    if run.kind == "landscape":
        figures |= _landscape(store, run, theme, data)
    else:
        figures |= _construction(store, run, theme)
    data |= _numbers(store, run)
    return report(
        f"{run.spec.zoo.name}: run {run.run_id}",
        facts=facts(run, found),
        table=table,
        figures=figures,
        notes=notes,
        theme=theme,
        data=data,
        code={
            "How to repeat it": "\n".join(run_commands(run.spec, run.run_id)),
            "Settings": json.dumps(run.spec.model_dump(mode="json", exclude_none=True), indent=2),
        },
    )


def facts(run: Run, found: Results | None = None) -> dict[str, str]:
    """What was run, in words."""
    spec = run.spec
    known = {
        "Run": run.run_id,
        "State": run.state,
        "Zoo": spec.zoo.name + (f": {spec.zoo.description}" if spec.zoo.description else ""),
        "Tasks": ", ".join(spec.tasks),
        "Device": run.device,
        "Seed": str(spec.seed),
        "Made with": ", ".join([f"Python {python_version()}", *(f"{name} {version(name)}" for name in LIBRARIES)]),
    }
    if found is not None and found.methods:
        known["Scores"] = f"{found.metric} on {found.count:,} {found.split} samples"
    if spec.construction is not None:
        settings = known_settings(spec).items()
        known["Anchors"] = ", ".join(f"{name} {value}" for name, value in settings if value is not None)
        if spec.published is not None:
            known["Anchors"] = f"published, imported from {spec.published}: {known['Anchors']}"
    elif spec.anchors_run:
        known["Anchors"] = f"of run {spec.anchors_run}"
    return known | {"Command": "; ".join(run_commands(spec, run.run_id))}


def _cited(store: Store, run: Run) -> tuple[Cited, Mapping[str, float]] | None:
    """What others report for these models, where this run has all their tasks."""
    return cited_for(store, run) if run.spec.tasks == run.spec.zoo.task_names else None


def _comparison(found: Results, cited: tuple[Cited, Mapping[str, float]] | None, theme: Theme) -> Figures:
    baseline = next((name for name in BASELINES if name in found.methods), found.methods[0])
    view = View(found.methods, picked=False, baseline=baseline)
    drawn = drawings(found, view, theme, cited=cited)
    return {name: (one.make(), one.sentence) for name, one in drawn.items() if one.make}


def _construction(store: Store, run: Run, theme: Theme) -> Figures:
    units = store.units(run.run_id)
    view = live.View(tasks=(), blocks=(), smoothing=0.0, unit=None, theme=theme)
    drawn = live.figures(store, run, view, units, live.at_work(units))
    figures = {name: (figure, FIGURES[name][0].sentence) for name, figure in drawn.items()}
    last = store.snapshots(run.run_id, SPECTRUM.key)
    if last:
        figures["spectra"] = (
            _spectra(last, theme),
            "The last recorded spectrum of every unit.",
        )
    return figures


def _spectra(found: Mapping[UnitKey, tuple[np.ndarray, np.ndarray]], theme: Theme) -> go.Figure:
    """One row a unit."""
    values = np.full((1, len(found), max(values.shape[1] for _, values in found.values())), np.nan, np.float32)
    for row, (_, own) in enumerate(found.values()):
        values[0, row, : own.shape[1]] = own[-1]
    rows = [f"{key.name}, block {key.block}" for key in found]
    title = ["Spectra of the finished anchors"]
    return spectra(rows, values, theme, shape="heatmap", title=title, row_title="", ordered=False).figure


def _landscape(store: Store, run: Run, theme: Theme, data: dict[str, pd.DataFrame]) -> Figures:
    found = landscape.plane_of(store, run)
    if found is None:
        return {}
    numbers = read_numbers(store, run.run_id, found, MEAN)
    view = landscape.View(metric="loss", of=MEAN, log=True, follow=(landscape.FDA_PATHS[0], 0), theme=theme)
    data["plane.csv"] = landscape.grid_table(found, numbers)
    data["models.csv"] = landscape.paths_table(found, numbers, run.spec.tasks)
    told = landscape.finding(found, numbers, "loss") or ""
    return {name: (figure, told) for name, figure in landscape.figures(run, found, numbers, view).items()}


def _numbers(store: Store, run: Run) -> dict[str, pd.DataFrame]:
    """Every series of the anchors, unthinned, and the spectra: one table each."""
    tables = {"units.csv": live.units_table(store.units(run.run_id))}
    for name in store.scalar_names(run.run_id):
        tables[f"{name.replace('/', '-')}.csv"] = live.scalars_table(store, run.run_id, name, name)
    if snapshots := store.snapshots(run.run_id, SPECTRUM.key):
        tables["spectra.csv"] = _spectra_table(snapshots)
    return tables


def _spectra_table(found: Mapping[UnitKey, tuple[np.ndarray, np.ndarray]]) -> pd.DataFrame:
    """A row a (unit, step): columns task, block, step and the singular values from 1 on."""
    parts = []
    for key, (steps, values) in found.items():
        rows = pd.DataFrame(values, columns=[str(index + 1) for index in range(values.shape[1])])
        rows.insert(0, "task", key.name)
        rows.insert(1, "block", key.block)
        rows.insert(2, "step", steps)
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)

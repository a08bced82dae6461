"""A whole run as one HTML file: its verdict, settings, scores, every figure, the numbers behind them, and how to repeat it.

Serves the pages' export menus and `python -m fda report`.
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
from fda.report import analyses, landscape, live
from fda.report.anchors import known_settings
from fda.report.cited import Cited
from fda.report.command import run_commands
from fda.report.comparison import Results, cited_for, default_baseline, results
from fda.report.comparison_figures import ComparisonView, cited_sentence, drawings
from fda.report.comparison_tables import raw_table, reading_table
from fda.report.html import report
from fda.report.verdict import verdict_of
from fda.store.landscape_record import MEAN, read_numbers
from fda.store.records import Run, UnitKey
from fda.store.store import ALL, Store

Figures = dict[str, tuple[go.Figure, str]]  # name → (figure, caption)
LIBRARIES = ("torch", "transformers", "open_clip_torch", "datasets", "numpy", "scipy")


def run_report(store: Store, run: Run, theme: Theme = "light") -> str:
    """The file's text: its data and about 5 MB of plotly.js. UserError if the run is deleted."""
    comparison = results(store, run) if run.spec.methods else None
    figures: Figures = {}
    notes, table, data = [], None, {}
    if comparison is not None and comparison.methods:
        cited = _cited(store, run)
        figures |= _comparison(comparison, cited, theme)
        table = reading_table(comparison, comparison.methods, cited[1] if cited else None)
        data["results.csv"] = raw_table(comparison, comparison.methods, cited[1] if cited else None)
        notes += comparison.data_notes
        notes += [cited_sentence(cited[0])] if cited else []
    if comparison is not None:
        notes += [
            f"{METHODS[name].title if name in METHODS else name} failed: {why}"
            for name, why in comparison.failed.items()
        ]
    if run.kind == "landscape":
        figures |= _landscape(store, run, theme, data)
    else:
        figures |= _construction(store, run, theme)
        if (plane := _newest_landscape(store, run)) is not None:
            figures |= _landscape(store, plane, theme, data)
        figures |= _analyses(store, run, theme, data)
    data |= _numbers(store, run)
    return report(
        f"{run.spec.zoo.name}: {f'{run.title} (run {run.run_id})' if run.name else f'run {run.run_id}'}",
        facts=facts(run, comparison),
        table=table,
        figures=figures,
        notes=notes,
        theme=theme,
        data=data,
        verdict=verdict_of(store, run),
        code={
            "How to repeat it": "\n".join(run_commands(run.spec, run.run_id)),
            "Settings": json.dumps(run.spec.model_dump(mode="json", exclude_none=True), indent=2),
        },
    )


def facts(run: Run, comparison: Results | None = None) -> dict[str, str]:
    """Name → words about what was run."""
    spec = run.spec
    known = {
        **({"Name": run.title} if run.name else {}),
        "Run": run.run_id,
        **({"Note": run.note} if run.note else {}),
        **({"Tags": ", ".join(run.tags)} if run.tags else {}),
        "State": run.state,
        "Zoo": spec.zoo.name + (f": {spec.zoo.description}" if spec.zoo.description else ""),
        "Tasks": ", ".join(spec.tasks),
        "Device": run.device,
        "Seed": str(spec.seed),
        "Made with": ", ".join([f"Python {python_version()}", *(f"{name} {version(name)}" for name in LIBRARIES)]),
    }
    if comparison is not None and comparison.methods:
        known["Scores"] = f"{comparison.metric} on {comparison.count:,} {comparison.split} samples"
    if spec.construction is not None:
        settings = known_settings(spec).items()
        known["Anchors"] = ", ".join(f"{name} {value}" for name, value in settings if value is not None)
        if spec.published is not None:
            known["Anchors"] = f"published, imported from {spec.published}: {known['Anchors']}"
    elif spec.anchors_run:
        known["Anchors"] = f"of run {spec.anchors_run}"
    return known | {"Command": "; ".join(run_commands(spec, run.run_id))}


def _cited(store: Store, run: Run) -> tuple[Cited, Mapping[str, float]] | None:
    """The published scores, if this run has all tasks of its zoo."""
    return cited_for(store, run) if run.spec.tasks == run.spec.zoo.task_names else None


def _comparison(comparison: Results, cited: tuple[Cited, Mapping[str, float]] | None, theme: Theme) -> Figures:
    baseline = default_baseline(comparison)
    assert baseline is not None, "it is called once a method has been scored"
    view = ComparisonView(comparison.methods, picked=False, baseline=baseline)
    drawn = drawings(comparison, view, theme, cited=cited)
    return {name: (drawing.make(), drawing.sentence) for name, drawing in drawn.items() if drawing.make}


def _construction(store: Store, run: Run, theme: Theme) -> Figures:
    units = store.units(run.run_id)
    view = live.UnitsView(tasks=(), blocks=(), smoothing=0.0, unit=None, theme=theme)
    drawn = live.figures(store, run, view, units, live.at_work(units))
    figures = {name: (figure, FIGURES[name][0].sentence) for name, figure in drawn.items()}
    last = store.snapshots(run.run_id, SPECTRUM.key)
    if last:
        figures["spectra"] = _spectra(last, theme), "The last recorded spectrum of every unit."
    return figures


def _spectra(snapshots: Mapping[UnitKey, tuple[np.ndarray, np.ndarray]], theme: Theme) -> go.Figure:
    """A heatmap with one row per unit."""
    values = np.full((1, len(snapshots), max(values.shape[1] for _, values in snapshots.values())), np.nan, np.float32)
    for row, (_, spectrum) in enumerate(snapshots.values()):
        values[0, row, : spectrum.shape[1]] = spectrum[-1]
    rows = [f"{key.name}, block {key.block}" for key in snapshots]
    title = ["Spectra of the finished anchors"]
    return spectra(rows, values, theme, shape="heatmap", title=title, row_title="", ordered=False).figure


def _newest_landscape(store: Store, run: Run) -> Run | None:
    """The newest finished landscape run of this run's anchors."""
    source = run.spec.anchors_run or run.run_id
    finished = store.runs(states=("done",), kinds=("landscape",), limit=ALL)
    return next((one for one in finished if one.spec.landscape is not None and one.spec.anchors_run == source), None)


def _landscape(store: Store, run: Run, theme: Theme, data: dict[str, pd.DataFrame]) -> Figures:
    plane = landscape.plane_of(store, run)
    if plane is None:
        return {}
    numbers = read_numbers(store, run.run_id, plane, MEAN)
    view = landscape.LandscapeView(metric="loss", of=MEAN, log=True, follow=(landscape.FDA_PATHS[0], 0), theme=theme)
    data["plane.csv"] = landscape.grid_table(plane, numbers)
    data["models.csv"] = landscape.paths_table(plane, numbers, run.spec.tasks)
    caption = landscape.finding(plane, numbers, "loss") or ""
    return {name: (figure, caption) for name, figure in landscape.figures(run, plane, numbers, view).items()}


def _analyses(store: Store, run: Run, theme: Theme, data: dict[str, pd.DataFrame]) -> Figures:
    """The panels that were computed of the run."""
    figures: Figures = {}
    for panel, table in analyses.computed(store, run).items():
        drawing = analyses.drawn(panel, table, analyses.AnalysisView(), theme)
        data[f"{panel}.csv"] = analyses.frame(table)
        figures[analyses.WORDS[panel].title] = drawing.make(), " ".join((drawing.sentence, *table.notes))
    return figures


def _numbers(store: Store, run: Run) -> dict[str, pd.DataFrame]:
    """File name → table, for units, every unthinned series of the anchors, and the spectra."""
    tables = {"units.csv": live.units_table(store.units(run.run_id))}
    for name in store.scalar_names(run.run_id):
        tables[f"{name.replace('/', '-')}.csv"] = live.scalars_table(store, run.run_id, name, name)
    if snapshots := store.snapshots(run.run_id, SPECTRUM.key):
        tables["spectra.csv"] = _spectra_table(snapshots)
    return tables


def _spectra_table(snapshots: Mapping[UnitKey, tuple[np.ndarray, np.ndarray]]) -> pd.DataFrame:
    """A row per unit and step: columns task, block, step and the singular values from 1 on."""
    parts = []
    for key, (steps, values) in snapshots.items():
        rows = pd.DataFrame(values, columns=[str(index + 1) for index in range(values.shape[1])])
        rows.insert(0, "task", key.name)
        rows.insert(1, "block", key.block)
        rows.insert(2, "step", steps)
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)

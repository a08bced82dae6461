"""The curves of a run's units over its steps, and their tensors, spectra and memory: all figures that follow it live."""

from collections.abc import Sequence
from functools import partial

import plotly.graph_objects as go
import streamlit as st

from fda.figures.curves import FEW_UNITS
from fda.figures.theme import blank
from fda.measures import COSINES, FIGURES, SPECTRUM, Figure
from fda.report import live
from fda.store.records import Run, Unit, UnitKey
from fda.store.store import Store
from fda.ui import notices
from fda.ui.exports import export_menu, run_report_file
from fda.ui.page import theme
from fda.ui.plot import plot
from fda.ui.run.anchors_address import asked_step
from fda.ui.run.live import figure_key

FILL = 0.42  # share of the window's height that each of the first two rows takes
PHONE_HEIGHT = 270  # pixels of a curve on a phone
MEANS, EACH = "mean and range of each task", "each unit"


def choose(run: Run, construct: Sequence[Unit], unit: UnitKey | None) -> live.UnitsView:
    """The reader's choices of curves. They are not part of the live update, which is faster without them."""
    blocks = sorted({unit.key.block for unit in construct})
    with st.popover("Curves", icon=":material/filter_alt:", key="choose"):
        tasks = st.pills(
            "Tasks",
            run.spec.tasks,
            selection_mode="multi",
            key="tasks",
            bind="query-params",
            wrap=True,
            help="If none is chosen: all",
        )
        picked = st.pills(
            "Blocks", blocks, selection_mode="multi", key="blocks", bind="query-params", help="If none is chosen: all"
        )
        lines = st.segmented_control(
            "A curve for",
            [MEANS, EACH],
            default=MEANS if len(construct) > FEW_UNITS else EACH,
            required=True,
            key="lines",
            bind="query-params",
        )
        smoothing = st.slider("Smoothing", 0.0, 0.98, 0.3, 0.02, key="smoothing", bind="query-params")
        share = st.slider(
            "k of the similarity", 2, 100, 20, 2, format="%d %% of d", key="k", bind="query-params",
            help="How many top directions the similarity compares; the paper uses 20 % of d",
        )  # fmt: skip
        energy = st.segmented_control(
            "Projection energy at",
            ["θ₀", "the merged model"],
            default="θ₀",
            required=True,
            key="energy",
            bind="query-params",
        )
    return live.UnitsView(
        tasks=tuple(tasks),
        blocks=tuple(picked),
        smoothing=smoothing,
        unit=unit,
        theme=theme(),
        share=share / 100,
        merged=energy != "θ₀",
        means=lines == MEANS,
        step=asked_step(max((unit.steps for unit in construct), default=0)),
    )


def show(picture: live.Picture, view: live.UnitsView) -> None:
    """The figures, two in a row, which the ticker keeps up to date."""
    if "loss" not in picture.figures and (view.tasks or view.blocks):
        notices.empty("No unit of this choice has begun: choose other tasks or blocks above, or wait.")
    for row in rows(picture):
        columns = st.columns(len(row), gap="medium")
        for column, figure in zip(columns, row, strict=True):
            with column:
                if figure.name in picture.figures:
                    plot(
                        picture.figures[figure.name],
                        key=figure_key(figure.name),
                        alt=figure.alt,
                        fill=FILL,
                        most=None if figure is COSINES.figure else PHONE_HEIGHT,  # its rows hold text
                    )


def rows(picture: live.Picture) -> list[list[Figure]]:
    """The figures beside the map by row. A figure without numbers keeps its column."""
    grouped: dict[int, list[Figure]] = {}
    for _, figure in FIGURES.values():
        if figure.row:
            grouped.setdefault(figure.row, []).append(figure)
    return [row for row in grouped.values() if any(figure.name in picture.figures for figure in row)]


def export(known: Store, run: Run, view: live.UnitsView) -> None:
    """The export menu. Files are made when the reader asks for them, from the run at that moment."""

    def unit() -> UnitKey | None:
        return view.unit or live.default_unit(run, known.units(run.run_id))

    def redraw(name: str) -> go.Figure:
        drawn = live.figures(known, run, view, known.units(run.run_id), unit())
        return drawn[name] if name in drawn else blank("Nothing to show yet", view.theme, height=200)

    export_menu(
        f"fda-{run.run_id}",
        tables={
            "Units": lambda: live.units_table(known.units(run.run_id)),
            **{
                measure.title: partial(live.scalars_table, known, run.run_id, measure.key, measure.key)
                for measure, _ in FIGURES.values()
                if measure.kind == "scalar"
            },
            SPECTRUM.title: lambda: live.spectrum_table(known, run.run_id, unit()),
        },
        texts=[run_report_file(run.run_id, theme())],
        figures={measure.title: partial(redraw, name) for name, (measure, _) in FIGURES.items()},
    )

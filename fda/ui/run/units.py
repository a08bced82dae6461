"""The units of a run: the map of tasks × blocks picks one, and curves or anchors beside it show it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from fda.measures import FIGURES
from fda.report import live
from fda.store.records import Run, Unit, UnitKey
from fda.store.store import Store
from fda.ui import notices
from fda.ui.page import theme
from fda.ui.plot import plot
from fda.ui.run import anchors, curves, more_methods
from fda.ui.run.live import figure_key, show_ticker
from fda.ui.runs import store
from fda.ui.verdict import verdict_box

TICK = 1.0
MAP_FILL = 0.4  # share of the window's height that the map takes
MANY_BLOCKS = 6  # with more the map gets a wider column
AT_WORK, WORST = "the unit at work", "the unit with the highest loss"
CURVES = "Curves"
MAPS = ("progress", "nodes", "methods")  # the figures of the left column


def units_view(known: Store, run: Run, runs: list[Run], into: DeltaGenerator) -> None:
    """Draw the view; the run's state goes into the container `into`. `runs`: all that can be overlaid."""
    with notices.noticed(stop=True):
        units = known.units(run.run_id)
    construct = [unit for unit in units if unit.key.stage == "construct"]
    blocks = {unit.key.block for unit in construct}
    left, right = st.columns([3, 9] if len(blocks) <= MANY_BLOCKS else [5, 9], gap="medium")
    with left:
        picked = pick_unit(run, construct)
    with right:
        if construct:
            picture = show_tabs(known, run, runs, units, picked, into)
        else:
            with notices.noticed(stop=True):
                picture = show_ticker(known, run, into, view := live.UnitsView((), (), 0.0, None, theme()))
            if units:
                curves.show(picture, view)
            else:
                notices.empty(no_figures(known, run))
    with left:
        show_map("progress", picture, partial(pick_cell, run, construct))
        show_map("nodes", picture)
        with notices.noticed():
            verdict_box(run, known)
        show_map("methods", picture)
    log = st.expander("Log", icon=":material/subject:", key="log", on_change="rerun")
    if log.open:
        with log:
            st.fragment(show_log, run_every=TICK if run.active else None)(run.run_id)
    if run.spec.construction is not None:
        if not run.spec.methods:
            more_methods.more_card(run)
        anchors.show_ablation(known, runs, run)


def show_tabs(
    known: Store, run: Run, runs: list[Run], units: list[Unit], picked: UnitKey | None, into: DeltaGenerator
) -> live.Picture:
    """Curves of all units, or the anchors of one: the unit `picked`, else the default. The maps and what the tab shows."""
    construct = [unit for unit in units if unit.key.stage == "construct"]
    unit = picked or live.default_unit(run, units)
    with st.container(key="tabbed"):
        tools = st.container(horizontal=True, vertical_alignment="center", gap="small", key="tools")
        names = (CURVES, *anchors.VIEWS)
        tabs = dict(zip(names, st.tabs(names, key="tab", bind="query-params", on_change="rerun"), strict=True))
    opened, body = next(one for one in tabs.items() if one[1].open)
    if opened == CURVES:
        with tools:
            view = curves.choose(run, construct, picked)
    else:
        view = live.UnitsView((), (), 0.0, unit, theme(), figures=MAPS)
    with notices.noticed(stop=True):
        picture = show_ticker(known, run, into, view)
    if opened == CURVES:
        with body:
            curves.show(picture, view)
        with tools:
            curves.export(known, run, view)
    else:
        with body:
            anchors.show(known, run, runs, unit, opened, tools)
    return picture


def pick_unit(run: Run, construct: list[Unit]) -> UnitKey | None:
    """The unit that the reader has chosen, kept in the URL; None for the default."""
    names = {unit_name(unit.key): unit.key for unit in construct}
    if not names:
        return None
    chosen = st.selectbox(
        "Unit",
        [default_name(run), *names],
        key="unit",
        bind="query-params",
        label_visibility="collapsed",
        help="Also by a click on the map",
    )
    return names.get(chosen)


def default_name(run: Run) -> str:
    return AT_WORK if run.active else WORST


def unit_name(key: UnitKey) -> str:
    return f"{key.name}/{key.block}"


def show_map(name: str, picture: live.Picture, on_pick: Callable[[Mapping[str, Any]], None] | None = None) -> None:
    if name in picture.figures:
        fill = MAP_FILL if on_pick else 0
        plot(picture.figures[name], key=figure_key(name), alt=FIGURES[name][1].alt, fill=fill, on_pick=on_pick)


def pick_cell(run: Run, construct: list[Unit], picked: Mapping[str, Any]) -> None:
    """Callback: choose the unit of the cell that the reader clicked, or the default if it is chosen already."""
    cells = {(unit.key.name, str(unit.key.block)): unit_name(unit.key) for unit in construct}
    name = cells.get((str(picked.get("y")), str(picked.get("x"))))
    if name is not None:
        st.session_state["unit"] = default_name(run) if st.session_state.get("unit") == name else name


def no_figures(known: Store, run: Run) -> str:
    """Why a run without units shows no figure yet, or never will."""
    if run.state == "queued":
        position = known.queue_position(run.run_id)
        number = f"number {position}" if position else "waiting"
        return f"This run is {number} in the queue of {run.device}: it starts by itself, figures appear with its first steps."
    if run.active:
        return "The worker is starting: figures appear with the first steps."
    return "This run ended before its first step: see the log below."


def show_log(run_id: str) -> None:
    with notices.noticed():
        st.code(live.log_tail(store(), run_id) or "(empty)", language=None, height=260)

"""Watch: a run as it happens, with progress, loss, similarity, spectrum, memory and log updated each second."""

import time
from collections.abc import Mapping
from functools import partial
from secrets import token_hex
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from fda.figures.theme import blank
from fda.measures import FIGURES, SPECTRUM, Figure
from fda.report import live
from fda.report.command import run_commands
from fda.store.records import Run, Unit, UnitKey
from fda.store.store import Store
from fda.ui import clock, more_methods, notices, pages
from fda.ui.exports import export_menu, run_report_file
from fda.ui.feed import BEGIN_ANEW, Feed, offer
from fda.ui.page import bar, command_box, theme
from fda.ui.plot import plot
from fda.ui.runs import BADGES, RESUMABLE, damage_note, pick_run, published_note, resume, stop, store
from fda.ui.ticker import ticker, ticker_update
from fda.ui.verdict import verdict_box

TICK = 1.0
FOLLOW = "the unit at work"
MANY_UNITS = 32

more_methods.go_on()
top = bar(
    "Watch",
    "Anchors as they are constructed: whether the loss falls, and whether their space turns towards real data.",
    "watch",
)
notices.show_kept()

with notices.noticed(stop=True):
    known = store()
    runs = known.runs()
if not runs and "run" not in st.query_params:
    notices.empty("There is no run yet: start the demo on Home, or choose checkpoints and settings on Construct.")
    st.page_link(pages.HOME, label="Home", icon=":material/home:")
    st.stop()
picked_run = pick_run(
    runs,
    known,
    into=top,
    key="watch_run",
    wrong="Run {run} is not among the newest 200: `python -m fda runs show` has it",
)
if picked_run is None:
    st.stop()
run = picked_run  # inside functions, too, a run and not None

progress = top.container(key="live")
with top:
    if run.state in ("queued", "running"):
        st.button("Stop", icon=":material/stop_circle:", on_click=stop, args=(run.run_id,), key="stop")
    elif run.state == "stopping":
        st.button("Stopping…", icon=":material/pending:", disabled=True, key="stop")
    elif run.state in RESUMABLE:
        st.button("Resume", type="primary", icon=":material/resume:", on_click=resume, args=(run.run_id,), key="resume")
    if run.spec.construction is not None:
        query = {"run": run.run_id}
        st.page_link(pages.ANCHORS, label="Anchors", icon=":material/anchor:", query_params=query)
    if run.spec.methods:
        query = {"run": run.run_id}
        st.page_link(pages.COMPARE, label="Compare", icon=":material/leaderboard:", query_params=query)
    if run.kind == "landscape":
        query = {"run": run.run_id}
        st.page_link(pages.LANDSCAPE, label="Landscape", icon=":material/landscape:", query_params=query)


def status(run: Run, units: list[Unit]) -> str:
    """State and progress of a run in words."""
    return clock.status(known, run, units, time.time())


def finished(units: list[Unit]) -> int:
    return sum(unit.state == "done" for unit in units)


def choose_view(run: Run, units: list[Unit]) -> live.WatchView:
    """The filters. They are not part of the live update: redrawing them each second would cost more than a figure."""
    construct = [unit.key for unit in units if unit.key.stage == "construct"]
    blocks = sorted({key.block for key in construct})
    shown = blocks
    if len(construct) > MANY_UNITS and len(blocks) > 3:  # three blocks until the reader chooses others
        shown = [blocks[0], blocks[len(blocks) // 2], blocks[-1]]
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
        default = "all" if shown == blocks else ", ".join(map(str, shown))
        picked = st.pills(
            "Blocks",
            blocks,
            selection_mode="multi",
            key="blocks",
            bind="query-params",
            help=f"If none is chosen: {default}",
        )
        smoothing = st.slider("Smoothing", 0.0, 0.98, 0.3, 0.02, key="smoothing", bind="query-params")
        names = {f"{key.name}/{key.block}": key for key in construct}
        unit = st.selectbox("Spectrum and cosines of", [FOLLOW, *names], key="unit", bind="query-params")
        share = st.slider(
            "k of the similarity", 2, 100, 20, 2, format="%d %% of d", key="k", bind="query-params",
            help="How many top directions the similarity compares; the paper uses 20 % of d",
        )  # fmt: skip
        at = st.segmented_control(
            "Projection energy at",
            ["θ₀", "the merged model"],
            default="θ₀",
            required=True,
            key="at",
            bind="query-params",
        )
    chosen = tuple(picked) or (() if shown == blocks else tuple(shown))
    return live.WatchView(tuple(tasks), chosen, smoothing, names.get(unit), theme(), share / 100, at != "θ₀")


def show(picture: live.Picture, view: live.WatchView) -> None:
    """The figures, which the ticker keeps up to date, or why there are none."""
    if run.message and run.state in RESUMABLE:
        (notices.empty if run.state == "cancelled" else notices.problem)(run.message)
    if not picture.units:
        notices.empty(no_figures())
    if picture.units and "loss" not in picture.figures and (view.tasks or view.blocks):
        notices.empty("No unit of this choice has begun: choose other tasks or blocks above, or wait.")
    for number, row in enumerate(rows(picture)):
        columns = st.columns(len(row), gap="medium")
        for column, figure in zip(columns, row, strict=True):
            with column:
                if figure.name in picture.figures:
                    plot(picture.figures[figure.name], key=f"watch-{figure.name}", alt=figure.alt)
        if number == 0:
            with columns[0], notices.noticed():  # below the shorter of the two maps
                verdict_box(run, known)


def no_figures() -> str:
    """Why a run without units shows no figure yet, or never will."""
    if run.state == "queued":
        number = f"number {position}" if position else "waiting"
        return f"This run is {number} in the queue of {run.device}: it starts by itself, figures appear with its first steps."
    if run.active:
        return "The worker is starting: figures appear with the first steps."
    return "This run ended before its first step: see the log below."


def rows(picture: live.Picture) -> list[list[Figure]]:
    """The figures by row. A figure without numbers keeps its column, except a map, so that a single map is full width."""
    grouped: dict[int, list[Figure]] = {}
    for _, figure in FIGURES.values():
        if figure.reads != "units" or figure.name in picture.figures:
            grouped.setdefault(figure.row, []).append(figure)
    return list(grouped.values())


def update_of(run: Run, units: list[Unit], figures: Mapping[str, str], seen: str) -> dict[str, Any]:
    """The ticker's update: the run's status, and new figures by name."""
    return ticker_update(
        (run.state, BADGES[run.state][1]),
        status(run, units),
        finished(units) / max(1, len(units)),
        {f"watch-{name}": figure for name, figure in figures.items()},
        seen,
    )


def updates(shown: live.Picture, view: live.WatchView, seen: str) -> Feed:
    """A feed of what has changed since the picture that the browser saw last, at first `shown`; of all if it saw another.

    The page's script runs again if the state, the place in the queue, the set of figures, or the units to choose from have
    changed.
    """
    last, number = shown, seen

    def update(seen: str) -> dict[str, Any]:
        nonlocal last, number
        known = store()
        now = known.run(run.run_id)
        picture = live.picture(known, now, view, last)
        seen_now = (now.state, place(now), set(picture.figures), begun(picture.units))
        if seen_now != (run.state, position, set(shown.figures), begun(units)):
            return BEGIN_ANEW
        figures = picture.changed(last) if seen == number else picture.figures
        last, number = picture, token_hex(4)
        return update_of(now, picture.units, figures, number)

    return update


def show_log() -> None:
    with notices.noticed():
        st.code(live.log_tail(store(), run.run_id) or "(empty)", language=None, height=260)


def place(run: Run) -> int | None:
    """The run's number in its queue; None if it is not queued."""
    return store().queue_position(run.run_id) if run.state == "queued" else None


def begun(units: list[Unit]) -> int:
    """The number of units to choose from."""
    return sum(unit.key.stage == "construct" for unit in units)


def export(known: Store, run: Run, view: live.WatchView) -> None:
    """The export menu. Files are made when the reader asks for them, from the run at that moment."""

    def unit() -> UnitKey | None:
        return view.unit or live.at_work(known.units(run.run_id))

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


published_note(run)
with notices.noticed():
    damage_note(run, known)
with notices.noticed(stop=True):
    units, position = known.units(run.run_id), place(run)
with top:
    view = choose_view(run, units)
    export(known, run, view)
with notices.noticed(stop=True):
    picture = live.picture(known, run, view, st.session_state.get("picture"))
st.session_state["picture"] = picture
seen = token_hex(4)
address = offer(updates(picture, view, seen), "watch") if run.active else None
with progress:
    ticker(update_of(run, picture.units, {}, seen), address, key="watch-ticker")
show(picture, view)
log = st.expander("Log", icon=":material/subject:", key="log", on_change="rerun")
if log.open:
    with log:
        st.fragment(show_log, run_every=TICK if run.active else None)()
if run.spec.construction is not None and not run.spec.methods:
    more_methods.more_card(run)
commands = run_commands(run.spec, run.run_id)
command_box([*commands, f"python -m fda runs show {run.run_id}"])

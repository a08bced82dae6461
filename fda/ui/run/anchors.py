"""The anchors of one unit step by step: spectrum, alignment, and nearest real inputs; other runs overlaid on a reference."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from fda.figures.anchors import STEP
from fda.figures.ridge import SHAPES
from fda.figures.scrub import Scrubbed
from fda.measures import ANGLES, SIMILARITY_BY_SHARE
from fda.measures import SPECTRUM as SPECTRUM_MEASURE
from fda.report import anchors
from fda.report.format import plural
from fda.requests.ablation import other_starts
from fda.store.records import Run, UnitKey
from fda.store.store import Store
from fda.ui import notices
from fda.ui.exports import export_menu, run_report_file
from fda.ui.page import theme
from fda.ui.run import anchors_figures, anchors_real, anchors_tables
from fda.ui.run.anchors_ablation import ablation_form, show_together
from fda.ui.run.anchors_address import in_url, positions, settle
from fda.ui.scrubber import scrubber, scrubber_spec

TICK = 2.0
SPECTRUM, ALIGNMENT, ACROSS, REAL = VIEWS = ("Spectrum", "Alignment", "Across units", "Real inputs")

Shown = tuple[str | None, tuple[int, ...], int, dict[str, Scrubbed]]


@dataclass(frozen=True)
class Choice:
    """What the reader looks at. `names`: run id → short name, of the runs shown, the page's own first; `pinned`: the
    reference, one of them."""

    known: Store
    shown: list[Run]
    names: dict[str, str]
    pinned: str
    task: str
    block: int


def show(known: Store, run: Run, runs: list[Run], unit: UnitKey | None, tab: str, tools: DeltaGenerator) -> None:
    """Draw the tab of this unit; its controls go into the container `tools`. `runs`: all that can be overlaid."""
    with notices.noticed():
        recorded = anchors.units_of(known, run.run_id)
        if unit is None or unit not in recorded:
            notices.empty(_not_recorded(run, unit, recorded))
            return
        with tools, st.popover("Overlay runs", icon=":material/layers:", key="overlay"):
            shown = choose_beside(run, anchors.constructs(runs), unit.name)
            names = anchors.run_names(shown)
            pinned = choose_pin(run, names) if len(shown) > 1 else run.run_id
            starts = other_starts(runs, run) if len(shown) == 1 else []
            if starts:
                ids = [run.run_id, *(one.run_id for one in starts)][: 1 + anchors.MOST_BESIDE]
                st.button(
                    f"Overlay its {plural(len(ids) - 1, 'other init')}",
                    icon=":material/layers:",
                    on_click=show_together,
                    args=(ids,),
                    key="lay-over",
                )
        choice = Choice(known, shown, names, pinned, unit.name, unit.block)
        waiting = any(one.active for one in shown)
        st.fragment(show_tab, run_every=TICK if waiting else None)(choice, tab)


def show_ablation(known: Store, runs: list[Run], run: Run | None = None) -> None:
    """A closed box with the form that compares initialisations."""
    with st.expander("Compare initialisations", icon=":material/compare_arrows:", key="ablation"):
        ablation_form(known, anchors.constructs(runs), run)


def _not_recorded(run: Run, unit: UnitKey | None, recorded: list[UnitKey]) -> str:
    if unit is not None and recorded and not run.active:
        return f"Nothing is recorded of {unit.name}, block {unit.block}: choose another unit on the map, or resume the run."
    if unit is not None and recorded:
        return f"The run has not reached {unit.name}, block {unit.block}, yet: it appears here with its first snapshot."
    if run.active:
        return "Nothing is recorded yet: figures appear here with the first steps."
    if run.state == "done":
        return "No task changes the base's blocks: this run has no anchors to show."
    return "This run ended before its first step: resume it."


def choose_beside(run: Run, runs: list[Run], task: str) -> list[Run]:
    """The runs shown: the page's run, then up to four others with the same task, kept in the URL as `runs`."""
    candidates = {other.run_id: other for other in runs if other.run_id != run.run_id and task in other.spec.tasks}
    asked = [run_id for run_id in (st.query_params.get("runs") or "").split(",") if run_id]
    unknown = [run_id for run_id in asked if run_id not in candidates and run_id != run.run_id]
    st.session_state["anchors_beside"] = [run_id for run_id in asked if run_id in candidates][: anchors.MOST_BESIDE]

    def choose() -> None:
        in_url("runs", ",".join(st.session_state["anchors_beside"]))

    beside = st.multiselect(
        "Other runs",
        list(candidates),
        format_func=lambda run_id: f"{anchors.init_of(candidates[run_id])} · {run_id}",
        key="anchors_beside",
        max_selections=anchors.MOST_BESIDE,
        placeholder="up to four other runs" if candidates else "no other run has this task",
        on_change=choose,
        wrap=True,
    )
    if unknown:
        notices.problem(
            f"run {unknown[0]} cannot be overlaid, as it is deleted or has no anchors of {task}: choose another one above."
        )
    return [run, *(candidates[run_id] for run_id in beside)]


def choose_pin(run: Run, shown: Mapping[str, str]) -> str:
    """The run id of the reference: the URL's `?pin=`, else the first."""
    asked = st.query_params.get("pin")
    st.session_state["anchors_pin"] = asked if asked in shown else next(iter(shown))

    def choose() -> None:
        pinned = st.session_state["anchors_pin"]
        in_url("pin", "" if pinned == run.run_id else pinned)

    return st.selectbox(
        "Reference", list(shown), format_func=shown.__getitem__, key="anchors_pin", on_change=choose, width=220,
        help="Its curves are thick and solid; numbers in brackets are differences from it",
    )  # fmt: skip


def kept(moment: tuple, make: Callable[[], Shown]) -> Shown:
    """The result of `make` for this moment, cached: the page also runs when the reader lets go of a slider."""
    last = st.session_state.get("anchors_shown")
    if last is None or last[0] != moment:
        last = st.session_state["anchors_shown"] = (moment, make())
    return last[1]


def drawn(drawings: anchors_figures.Drawn, dials: dict, steps: tuple[int, ...], count: int = 0, **parts: Any) -> Shown:
    """(JSON of the scrubber or None, steps of its dial, number of anchors, figures)."""
    spec = scrubber_spec(dials, drawings, **parts) if drawings else None
    return spec, steps, count, {name: figure for name, (figure, _) in drawings.items()}


def show_tab(choice: Choice, opened: str) -> None:
    with notices.noticed():
        now = [choice.known.run(one.run_id) for one in choice.shown]
        if any(one.state != before.state for one, before in zip(now, choice.shown, strict=True)):
            st.rerun()
        waiting = [choice.names[one.run_id] for one in now[1:] if one.active]
        if waiting:
            st.caption(f"Still running or queued: {', '.join(waiting)}")
        show_figures(choice, opened, now)


def show_figures(choice: Choice, opened: str, now: list[Run]) -> None:
    known, names, pinned = choice.known, choice.names, choice.pinned
    task, block = choice.task, choice.block
    # A fragment's widgets stay inside it: frame.css moves these into the row of the tabs, beside "Overlay runs".
    tools = st.container(horizontal=True, vertical_alignment="center", gap="small", key="anchors-tools")
    log, over, shape = True, "steps", SHAPES[0]
    if opened == ACROSS:
        chosen = {"required": True, "bind": "query-params"}
        with st.container(horizontal=True, vertical_alignment="center", gap="small", key="inline-controls"):
            over = st.segmented_control("Over", anchors_figures.OVERS, default="steps", key="over", **chosen)
            shape = st.segmented_control("As", SHAPES, default=SHAPES[0], key="shape", **chosen)
    if opened in (SPECTRUM, ACROSS):
        with tools:
            log = st.toggle("Log", True, key="anchors_log", bind="query-params", help="Logarithmic values or colours")
    view = anchors_figures.AnchorsView(
        tuple(names[one.run_id] for one in now), names[pinned], task, block, log, theme()
    )
    versions = tuple((one.run_id, known.version(one.run_id)) for one in now)
    identity = f"{'-'.join(names)} {task} {block}"
    records = [anchors.read_unit(known, one.run_id, names[one.run_id], task, block) for one in now]
    records = [one for one in records if one.snapshots or one.measures]
    neighbours = None
    if opened == REAL:
        neighbours = anchors_real.read_neighbours(known, pinned, task, block)

    def make() -> Shown:
        if opened == REAL:
            if neighbours is None:
                return drawn({}, {}, ())
            dials, cards, points = anchors_real.parts(neighbours)
            figure = anchors_real.map_figure(neighbours, theme(), unit=view.unit, uirevision=identity)
            alt = "Map of anchors and real inputs in their first two principal components, rays to the nearest of one anchor"
            return drawn({"Map": (figure, alt)}, dials, (), len(neighbours.anchors), cards=cards, points=points)
        if opened == ACROSS:
            drawings, steps = anchors_figures.across_view(
                known, pinned, view, over=over, shape=shape, identity=identity
            )
            return drawn(drawings, {STEP: anchors_figures.step_dial(steps)} if steps else {}, steps)
        if view.pinned not in {one.run for one in records}:
            return drawn({}, {}, ())
        make_view = anchors_figures.spectrum_view if opened == SPECTRUM else anchors_figures.alignment_view
        drawings, steps = make_view(records, view, identity), anchors_figures.steps_of(records)
        dials = anchors_figures.dials(drawings, steps, anchors_figures.width_of(records))
        return drawn(drawings, dials, steps, readings=anchors_figures.readings(records, view))

    spec, steps, count, figures = kept((versions, view, opened, over, shape), make)
    at = positions(steps, count)
    if spec is None:
        notices.empty(nothing(choice, opened, now))
    else:
        scrubber(spec, at, key=f"scrubber-{opened}", on_settle=partial(settle, steps))
        if neighbours is not None:
            st.caption(anchors_real.yardstick(neighbours))
        if opened == ALIGNMENT and (
            sentence := anchors.finding(records, view.pinned, anchors_figures.chance_of(records))
        ):
            st.markdown(sentence)
    if opened in (SPECTRUM, ALIGNMENT) and (sentence := anchors.lacking(records)):
        st.caption(sentence)
    with tools:
        export(choice, records, neighbours, figures, at, over)


def nothing(choice: Choice, opened: str, now: list[Run]) -> str:
    """Why the open view is empty, and what to do."""
    reference = next(shown_run for shown_run in now if shown_run.run_id == choice.pinned)
    if reference.active:
        unit = f"{choice.task}, block {choice.block}"
        return f"The reference has not reached {unit}, yet: it appears here with its first snapshot."
    if opened == REAL:
        return (
            f"This run kept no real inputs of {choice.task}: it is older, or the task has no data. "
            "Construct again, from a zoo whose tasks name their data."
        )
    return "Nothing is recorded for this unit: choose another unit, or resume the run."


def export(
    choice: Choice,
    records: list[anchors.UnitRecord],
    neighbours: anchors_real.Neighbours | None,
    figures: dict[str, Scrubbed],
    at: dict[str, int],
    over: str,
) -> None:
    """The export menu: numbers of all runs shown, in any view; figures at the dials' positions."""

    def as_shown(name: str) -> go.Figure:
        return figures[name].at(at)

    run_id = choice.shown[0].run_id
    spread = {"tasks": (None, [choice.block]), "blocks": ([choice.task], None)}.get(
        over, ([choice.task], [choice.block])
    )
    tables = {"Measures": partial(anchors_tables.measures_table, choice.known, choice.names, choice.task, choice.block)}
    for measure in (SPECTRUM_MEASURE, SIMILARITY_BY_SHARE, ANGLES):
        tables[measure.title] = partial(anchors_tables.snapshots_table, records, measure.key)
    if over != "steps":
        names_, blocks_ = spread
        tables[f"Spectra over {over}"] = partial(
            anchors_tables.across_table, choice.known, choice.pinned, names=names_, blocks=blocks_
        )
    if neighbours is not None:
        tables |= {
            "Nearest": partial(anchors_tables.nearest_table, neighbours),
            "Map": partial(anchors_tables.map_table, neighbours),
        }
    export_menu(
        f"fda-{run_id}",
        tables=tables,
        texts=[run_report_file(run_id, theme())],
        figures={name: partial(as_shown, name) for name in figures},
    )

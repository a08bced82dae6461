"""Anchors: their spectrum and alignment step by step, runs overlaid on a reference, and the nearest real inputs."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from fda.escape import markdown
from fda.figures.anchors import STEP
from fda.figures.ridge import SHAPES
from fda.figures.scrub import Scrubbed
from fda.measures import ANGLES, SIMILARITY_BY_SHARE
from fda.measures import SPECTRUM as SPECTRUM_MEASURE
from fda.report import anchors
from fda.report.command import run_commands
from fda.report.format import plural
from fda.requests.ablation import other_starts
from fda.store.records import Run
from fda.ui import anchors_figures, anchors_real, anchors_tables, notices, pages
from fda.ui.anchors_ablation import ablation_form, show_together
from fda.ui.anchors_address import in_url, positions, settle
from fda.ui.exports import export_menu, run_report_file
from fda.ui.page import bar, command_box, theme
from fda.ui.runs import badge, damage_note, pick_run, published_note, store
from fda.ui.scrubber import scrubber, scrubber_spec

TICK = 2.0
SPECTRUM, ALIGNMENT, ACROSS, REAL = VIEWS = ("Spectrum", "Alignment", "Across units", "Real inputs")

top = bar(
    "Anchors",
    "How anchors changed: move through the steps, overlay runs, and see which real inputs anchors are near.",
    "anchors",
)
notices.show_kept()

with notices.noticed(stop=True):
    known = store()
    all_runs = known.runs()
runs = anchors.constructs(all_runs)
if not runs and "run" not in st.query_params:
    notices.empty("No run has anchors yet: start the demo on Home, or compare initialisations here.")
    st.page_link(pages.HOME, label="Home", icon=":material/home:")
    ablation_form(known, runs)
    st.stop()
picked_run = pick_run(
    runs,
    known,
    into=top,
    key="anchors_run",
    wrong="run {run} constructs no anchors: choose one of the list above, or open it on Watch.",
)
if picked_run is None:
    st.stop()
run = picked_run  # inside functions, too, a run and not None


def choose_unit() -> tuple[str, int] | None:
    """Task and block, kept in the URL; None while nothing is recorded."""
    with notices.noticed(stop=True):
        units = anchors.units_of(known, run.run_id)
    if not units:
        return None
    tasks = list(dict.fromkeys(key.name for key in units))
    task = st.selectbox("Task", tasks, key="task", bind="query-params", width=200)
    blocks = sorted({key.block for key in units if key.name == task})
    return task, st.selectbox("Block", blocks, key="block", bind="query-params", width=130)


def choose_beside(task: str) -> list[Run]:
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


def choose_pin(shown: Mapping[str, str]) -> str:
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


with top:
    unit = choose_unit()
    if unit is None:
        shown, names, pinned = [run], {}, run.run_id
    else:
        task, block = unit
        with st.popover("Overlay runs", icon=":material/layers:", key="overlay"):
            shown = choose_beside(task)
            names = anchors.run_names(shown)
            pinned = choose_pin(names) if len(shown) > 1 else run.run_id
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
        badge(run)
        st.page_link(pages.WATCH, label="Watch", icon=":material/monitoring:", query_params={"run": run.run_id})


def wait() -> None:
    """Shown until the first numbers are recorded."""
    with notices.noticed():
        now = known.run(run.run_id)
        if now.state != run.state or anchors.units_of(known, run.run_id):
            st.rerun()
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            badge(now)
            position = known.queue_position(run.run_id)
            st.markdown(f"number {position} in the queue of {now.device}" if position else markdown(run.spec.zoo.name))
        notices.empty(
            "Nothing is recorded yet: figures appear here with the first steps."
            if now.active
            else "No task changes the base's blocks: this run has no anchors to show."
            if now.state == "done"
            else "This run ended before its first step: resume it on Watch."
        )
        st.page_link(pages.WATCH, label="Watch", icon=":material/monitoring:", query_params={"run": run.run_id})


Shown = tuple[str | None, tuple[int, ...], int, dict[str, Scrubbed]]


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


def show() -> None:
    with notices.noticed():
        now = [known.run(one.run_id) for one in shown]
        if any(one.state != before.state for one, before in zip(now, shown, strict=True)):
            st.rerun()
        waiting = [names[one.run_id] for one in now[1:] if one.active]
        if waiting:
            st.caption(f"Still running or queued: {', '.join(waiting)}")
        with st.container(key="tabbed"):
            tabs = dict(zip(VIEWS, st.tabs(VIEWS, key="tab", bind="query-params", on_change="rerun"), strict=True))
            opened, tab = next(one for one in tabs.items() if one[1].open)
            with tab:
                show_view(opened, now)


def show_view(opened: str, now: list[Run]) -> None:
    controls = st.container(horizontal=True, vertical_alignment="center", gap="small", key="tools")
    log, over, shape = True, "steps", SHAPES[0]
    with controls:
        if opened == ACROSS:
            chosen = {"required": True, "bind": "query-params"}
            over = st.segmented_control("Over", anchors_figures.OVERS, default="steps", key="over", **chosen)
            shape = st.segmented_control("As", SHAPES, default=SHAPES[0], key="shape", **chosen)
        if opened in (SPECTRUM, ACROSS):
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
        notices.empty(nothing(opened, now))
    else:
        scrubber(spec, at, key=f"scrubber-{opened}", on_settle=partial(settle, steps))
        if opened == ALIGNMENT and (
            sentence := anchors.finding(records, view.pinned, anchors_figures.chance_of(records))
        ):
            st.markdown(sentence)
    if opened in (SPECTRUM, ALIGNMENT) and (sentence := anchors.lacking(records)):
        st.caption(sentence)
    with controls:
        export(records, neighbours, figures, at, over)


def nothing(opened: str, now: list[Run]) -> str:
    """Why the open view is empty, and what to do."""
    reference = next(shown_run for shown_run in now if shown_run.run_id == pinned)
    if reference.active:
        return f"The reference has not reached {task}, block {block}, yet: it appears here with its first snapshot."
    if opened == REAL:
        return (
            f"This run kept no real inputs of {task}: it is older, or the task has no data. "
            "Construct again, from a zoo whose tasks name their data."
        )
    return "Nothing is recorded for this unit: choose another task or block, or resume the run on Watch."


def export(
    records: list[anchors.UnitRecord],
    neighbours: anchors_real.Neighbours | None,
    figures: dict[str, Scrubbed],
    at: dict[str, int],
    over: str,
) -> None:
    """The export menu: numbers of all runs shown, in any view; figures at the dials' positions."""

    def as_shown(name: str) -> go.Figure:
        return figures[name].at(at)

    spread = {"tasks": (None, [block]), "blocks": ([task], None)}.get(over, ([task], [block]))
    tables = {"Measures": partial(anchors_tables.measures_table, known, names, task, block)}
    for measure in (SPECTRUM_MEASURE, SIMILARITY_BY_SHARE, ANGLES):
        tables[measure.title] = partial(anchors_tables.snapshots_table, records, measure.key)
    if over != "steps":
        names_, blocks_ = spread
        tables[f"Spectra over {over}"] = partial(
            anchors_tables.across_table, known, pinned, names=names_, blocks=blocks_
        )
    if neighbours is not None:
        tables |= {
            "Nearest": partial(anchors_tables.nearest_table, neighbours),
            "Map": partial(anchors_tables.map_table, neighbours),
        }
    export_menu(
        f"fda-{run.run_id}",
        tables=tables,
        texts=[run_report_file(run.run_id, theme())],
        figures={name: partial(as_shown, name) for name in figures},
    )


published_note(run)
with notices.noticed():
    damage_note(run, known)
st.fragment(wait if unit is None else show, run_every=TICK if any(one.active for one in shown) else None)()
with st.expander("Compare initialisations", icon=":material/compare_arrows:", key="ablation"):
    ablation_form(known, runs, run)
command_box([*run_commands(run.spec, run.run_id), f"python -m fda runs show {run.run_id}"])

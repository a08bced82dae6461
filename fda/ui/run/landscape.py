"""The landscape of a run: loss over a plane of weights, with the paths of task arithmetic and FDA, which one can follow."""

from functools import partial

import plotly.graph_objects as go
import streamlit as st

from fda.errors import UserError
from fda.escape import code, markdown
from fda.figures.landscape import METRICS, TITLES, Metric, mark
from fda.jobs import lifecycle as jobs
from fda.report import landscape
from fda.report.command import run_commands
from fda.requests.landscape import CHOICES, landscape_spec
from fda.settings import LandscapeSettings
from fda.store.landscape_record import FDA_PATHS, MEAN, TA, LandscapeMap
from fda.store.records import Run
from fda.store.spec import RunSpec
from fda.store.store import Store
from fda.ui import clock, forms, notices
from fda.ui.actions import action_button
from fda.ui.exports import export_menu, run_report_file
from fda.ui.page import theme
from fda.ui.plot import plot
from fda.ui.runs import RESUMABLE, badge, resume, stop, store

TICK = 1.5
FILL = 0.82  # share of the window's height that the map takes
PATHS = (*FDA_PATHS, TA)
ALTS = {
    landscape.MAP: "Filled contours over a plane of weights, with the paths of task arithmetic and FDA and where they end",
    landscape.CURVES: "Loss or accuracy along the paths against the distance from the pretrained model",
}


def landscape_view(known: Store, run: Run, runs: list[Run]) -> None:
    """Draw the newest landscape of the run's anchors, or of a landscape run its own; without one, the form that starts it."""
    anchors_run = run.spec.anchors_run or run.run_id
    planes = [one for one in runs if one.spec.landscape is not None and one.spec.anchors_run == anchors_run]
    planes.sort(key=lambda one: one.run_id != run.run_id)  # a landscape run shows itself
    source = next((one for one in landscape.sources(runs) if one.run_id == anchors_run), None)
    if run.spec.coarse_landscape and run.active:
        notices.empty("Once this run is done, its landscape is computed on a coarse grid and appears here.")
    elif planes:
        show_plane(known, run, planes)
    elif source is None:
        notices.empty(
            "The landscape is computed from finished anchors: it can be started here once this run is done."
            if run.active
            else "This run has no finished anchors, so there is no landscape to compute."
        )
    if source is not None and planes:
        with st.expander("Compute another landscape", icon=":material/add_chart:", key="another"):
            form(known, source)
    elif source is not None:
        form(known, source)


def show_plane(known: Store, run: Run, planes: list[Run]) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="plane-tools"):
        plane_run = planes[0]
        if len(planes) > 1:
            titles = {one.run_id: f"{one.title} · {one.state}" for one in planes}
            chosen = st.selectbox(
                "Landscape", list(titles), format_func=titles.__getitem__, key="plane", label_visibility="collapsed",
                width=320,
            )  # fmt: skip
            plane_run = next(one for one in planes if one.run_id == chosen)
        if plane_run.run_id != run.run_id and plane_run.state != "done":
            badge(plane_run)
            if plane_run.state in ("queued", "running"):
                action_button(
                    "Stop", "stop", plane_run, icon=":material/stop_circle:", on_click=stop, args=(plane_run.run_id,),
                    key="stop-plane",
                )  # fmt: skip
            elif plane_run.state in RESUMABLE:
                action_button(
                    "Resume", "resume", plane_run, icon=":material/resume:", on_click=resume, args=(plane_run.run_id,),
                    key="resume-plane",
                )  # fmt: skip
    st.fragment(show, run_every=TICK if plane_run.active else None)(known, plane_run)


def start(spec: RunSpec) -> None:
    """Start the landscape run of the form."""
    try:
        jobs.start(store(), spec)
    except UserError as error:
        notices.keep_problem(str(error))


def form(known: Store, run: Run) -> None:
    """Choose settings, then start a landscape run of this run's anchors."""
    values = {}
    with st.expander("Settings", icon=":material/tune:", key="landscape_settings"):
        for column, name in zip(st.columns(3, gap="medium") + st.columns(3, gap="medium"), CHOICES, strict=False):
            field = LandscapeSettings.model_fields[name]
            with column:
                values[name] = forms.field_input(name, field, field.default)
    spec = None
    with notices.noticed():
        spec = landscape_spec(known, run.run_id, **values)
    grid = f"{values['points']} × {values['points']} points" if values["points"] else "a grid of points"
    with st.container(horizontal=True, vertical_alignment="center"):
        action_button(
            "Compute the landscape",
            "start",
            type="primary",
            icon=":material/play_arrow:",
            do=lambda: start(spec),
            key="start",
            disabled=spec is None,
        )
        takes = clock.told_before(known, spec) if spec is not None else None
        time_note = f"; takes {takes}" if takes else ""
        st.caption(
            f"Adapts the blocks again with their weights recorded, then scores {grid}, coarse to fine{time_note}."
        )
    if spec is not None:
        st.code("\n".join(run_commands(spec)), language=None, wrap_lines=True)


def show_status(run: Run) -> None:
    if run.state != "done" and run.units_total:
        st.progress(run.units_done / run.units_total, f"{run.units_done} of {run.units_total} units")


def choose(run: Run, plane: LandscapeMap) -> landscape.LandscapeView:
    """The controls, all kept in the URL. They are in the fragment, so that a choice redraws only the figures."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="inline-controls"):
        metric: Metric = st.segmented_control(
            "Colour", METRICS, default=METRICS[0], required=True, key="metric", bind="query-params"
        )
        of = st.selectbox("Task", [MEAN, *run.spec.tasks], key="of", bind="query-params", width=150)
        path = st.segmented_control(
            "Follow",
            PATHS,
            default=PATHS[0],
            required=True,
            format_func=TITLES.__getitem__,
            key="path",
            bind="query-params",
            wrap=True,
        )
        log = st.toggle(
            "Log", True, key="log", bind="query-params", help="Colour by the logarithm", disabled=metric != "loss"
        )
        track = plane.track(path)
        marks = [mark(track, index) for index in range(len(track.at))]
        at = marks[-1]
        if len(marks) > 1:  # the map has only the start of a path that is not recorded yet
            at = st.select_slider("Step of the path", marks, marks[-1], key="at", bind="query-params")
    return landscape.LandscapeView(metric, of, log, (path, marks.index(at)), theme())


def show_point(picture: landscape.Picture, view: landscape.LandscapeView) -> None:
    """Loss and accuracy at the ring, beside those of the task arithmetic that FDA starts from."""
    plane, numbers = picture.plane, picture.numbers
    name, index = view.follow
    track, start = plane.track(name), plane.track(TA).at.index(plane.scale)
    loss, accuracy = (numbers.tracks[metric][name][index] for metric in METRICS)
    start_loss, start_accuracy = (numbers.tracks[metric][TA][start] for metric in METRICS)
    beside = f"vs TA, λ {plane.scale:g}"
    scored, both = loss == loss, loss == loss and start_loss == start_loss  # NaN: not scored yet
    with st.container(horizontal=True, key="point"):
        change = f"{loss - start_loss:+.3f} {beside}" if both else None
        st.metric("Loss", f"{loss:.3f}" if scored else "–", change, delta_color="inverse")
        change = f"{100 * (accuracy - start_accuracy):+.1f} {beside}" if both else None
        st.metric("Accuracy", f"{100 * accuracy:.1f} %" if scored else "–", change)
        st.metric(
            "Off the plane", f"{track.distance[index]:.2f} ‖Σ τᵢ‖", help="Distance of the true weights from the plane"
        )


def show(known: Store, run: Run) -> None:
    with notices.noticed():
        now = known.run(run.run_id)
        if now.state != run.state:
            st.rerun()
        plane = landscape.plane_of(known, now)
        with st.container(key="status"):  # always one element, so that the figures below keep their position and zoom
            show_status(now)
        if plane is None:
            notices.empty(
                "The run is adapting the blocks and recording their weights: the figures appear right after that."
                if now.active
                else "This run ended before it computed its plane: resume it."
            )
            return
        view = choose(now, plane)
        picture = landscape.picture(known, now, plane, view, st.session_state.get("landscape_picture"))
        st.session_state["landscape_picture"] = picture
        left, right = st.columns([3, 2], gap="medium")
        with left:
            plot(picture.figures[landscape.MAP], key="landscape-map", alt=ALTS[landscape.MAP], fill=FILL)
            st.caption(
                f"{sum(plane.samples.values()):,} samples of the {markdown(plane.split)} split at every point; "
                f"anchors of {code(run.spec.anchors_run or '')}."
            )
        with right:
            show_point(picture, view)
            if landscape.CURVES in picture.figures:
                plot(picture.figures[landscape.CURVES], key="landscape-paths", alt=ALTS[landscape.CURVES])
            if sentence := landscape.finding(plane, picture.numbers, view.metric):
                st.markdown(sentence)
            export(now, picture, view)


def export(run: Run, picture: landscape.Picture, view: landscape.LandscapeView) -> None:
    def redraw(name: str) -> go.Figure:
        return landscape.figures(run, picture.plane, picture.numbers, view)[name]

    export_menu(
        f"fda-{run.run_id}",
        tables={
            "Plane": lambda: landscape.grid_table(picture.plane, picture.numbers),
            "Models": lambda: landscape.paths_table(picture.plane, picture.numbers, run.spec.tasks),
        },
        texts=[run_report_file(run.run_id, theme())],
        figures={name: partial(redraw, name) for name in picture.figures},
    )

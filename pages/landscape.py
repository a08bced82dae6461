"""Landscape: loss over a plane of weights, with the paths of task arithmetic and FDA, which the reader can follow."""

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
from fda.ui import forms, notices, pages
from fda.ui.exports import export_menu, run_report_file
from fda.ui.page import bar, command_box, theme
from fda.ui.plot import plot
from fda.ui.runs import RESUMABLE, badge, labels, pick_run, resume, stop, store

TICK = 1.5
FILL = 0.82  # share of the window's height that the map takes
PATHS = (*FDA_PATHS, TA)
ALTS = {
    landscape.MAP: "Filled contours over a plane of weights, with the paths of task arithmetic and FDA and where they end",
    landscape.CURVES: "Loss or accuracy along the paths against the distance from the pretrained model",
}


def start(spec: RunSpec) -> None:
    """Callback: start the landscape run of the form."""
    try:
        st.query_params["run"] = jobs.start(store(), spec)
    except UserError as error:
        notices.keep_problem(str(error))


def form(candidates: list[Run]) -> None:
    """Choose a finished run and settings, then start a landscape run."""
    titles = labels(candidates)
    asked = st.query_params.get("source")
    if asked is not None and asked not in titles:
        notices.problem(f"run {asked} is not a finished run with anchors: choose one of the list below.")
    source = st.selectbox(
        "Anchors of run",
        list(titles),
        format_func=titles.__getitem__,
        key="source",
        bind="query-params",
        help="A finished run",
    )
    values = {}
    with st.expander("Settings", icon=":material/tune:", key="landscape_settings"):
        for column, name in zip(st.columns(3, gap="medium") + st.columns(3, gap="medium"), CHOICES, strict=False):
            field = LandscapeSettings.model_fields[name]
            with column:
                values[name] = forms.field_input(name, field, field.default)
    spec = None
    with notices.noticed():
        spec = landscape_spec(known, source, **values)
    grid = f"{values['points']} × {values['points']} points" if values["points"] else "a grid of points"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Compute the landscape",
            type="primary",
            icon=":material/play_arrow:",
            on_click=start,
            args=(spec,),
            key="start",
            disabled=spec is None,
        )
        st.caption(f"Adapts the blocks again with their weights recorded, then scores {grid}, coarse to fine.")
    if spec is not None:
        command_box(run_commands(spec))


top = bar(
    "Landscape",
    "Whether anchors lead the model to a lower loss than task arithmetic can reach: the loss around it, and every path.",
    "landscape",
)
notices.show_kept()

with notices.noticed(stop=True):
    known = store()
    all_runs = known.runs()
runs = [run for run in all_runs if run.spec.landscape is not None]
candidates = landscape.sources(all_runs)
if not runs and "run" not in st.query_params:
    if candidates:
        form(candidates)
    else:
        notices.empty("No run has anchors yet: start the demo on Home, or construct some; then come back here.")
        st.page_link(pages.HOME, label="Home", icon=":material/home:")
    st.stop()
picked_run = pick_run(
    runs,
    known,
    into=top,
    key="landscape_run",
    wrong="run {run} is no landscape: choose one of the list above, or compute the landscape of its anchors here.",
)
if picked_run is None:
    asked = st.query_params.get("run")
    if asked in {run.run_id for run in candidates}:
        st.session_state.setdefault("source", asked)
        form(candidates)
    st.stop()
run = picked_run  # inside functions, too, a run and not None

with top:
    badge(run)
    if run.state in ("queued", "running"):
        st.button("Stop", icon=":material/stop_circle:", on_click=stop, args=(run.run_id,), key="stop")
    elif run.state == "stopping":
        st.button("Stopping…", icon=":material/pending:", disabled=True, key="stop")
    elif run.state in RESUMABLE:
        st.button("Resume", type="primary", icon=":material/resume:", on_click=resume, args=(run.run_id,), key="resume")
    st.page_link(pages.WATCH, label="Watch", icon=":material/monitoring:", query_params={"run": run.run_id})


def show_status(run: Run, plane: LandscapeMap | None) -> None:
    if run.state != "done" and run.units_total:
        st.progress(run.units_done / run.units_total, f"{run.units_done} of {run.units_total} units")
    if run.message and run.state in RESUMABLE:
        (notices.empty if run.state == "cancelled" else notices.problem)(run.message)


def choose(plane: LandscapeMap) -> landscape.LandscapeView:
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


def show() -> None:
    with notices.noticed():
        now = known.run(run.run_id)
        if now.state != run.state:
            st.rerun()
        plane = landscape.plane_of(known, now)
        with st.container(key="status"):  # always one element, so that the figures below keep their position and zoom
            show_status(now, plane)
        if plane is None:
            notices.empty(
                "The run is adapting the blocks and recording their weights: the figures appear right after that."
                if now.active
                else "This run ended before it computed its plane: resume it."
            )
            return
        view = choose(plane)
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


st.fragment(show, run_every=TICK if run.active else None)()
if candidates:
    with st.expander("Compute another landscape", icon=":material/add_chart:", key="another"):
        form(candidates)
command_box(run_commands(run.spec, run.run_id))

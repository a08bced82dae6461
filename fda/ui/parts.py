"""Parts that several pages show: charts with their exports, the run picker, state badges, words for times and sizes."""

import csv
import io
import shlex
import time
from collections.abc import Sequence

import plotly.graph_objects as go
import streamlit as st

from fda.figures.export import to_html
from fda.runs.jobs import reconcile, resume, stop
from fda.runs.spec import RunSpec
from fda.runs.store import Run, Store
from fda.ui.frame import attempt
from fda.ui.live import CONFIG

STATES = {
    "queued": ("gray", "queued"),
    "running": ("blue", "running"),
    "stopping": ("orange", "stopping…"),
    "done": ("green", "done"),
    "failed": ("red", "failed"),
    "cancelled": ("gray", "cancelled"),
    "crashed": ("red", "crashed"),
}


def badge(run: Run) -> str:
    """A run's state as a Markdown badge: colour and word."""
    colour, word = STATES[run.state]
    return f":{colour}-badge[{word}]"


def duration(seconds: float | None) -> str:
    """`8 s`, `2 min 5 s`, `3 h 12 min`."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def ago(moment: float | None) -> str:
    """How long ago a moment was."""
    return "–" if moment is None else f"{duration(max(0.0, time.time() - moment))} ago"


def size(count: float | None) -> str:
    """Bytes in the largest fitting unit."""
    if count is None:
        return "–"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def elapsed(run: Run) -> float | None:
    """Seconds a run has worked so far, or did."""
    if run.started is None:
        return None
    return (run.finished or time.time()) - run.started


def fresh_store() -> Store:
    """The store, after the states of its runs were made true."""
    store = Store()
    reconcile(store)
    return store


def run_name(run: Run) -> str:
    """A run in one line, for pickers."""
    return f"{run.run_id} · {run.kind} · {run.spec.zoo.name} · {run.state}"


def pick_run(runs: Sequence[Run], key: str = "run") -> Run:
    """Choose a run; the choice is `?run=` in the URL, the newest is put there if none is. Unknown ids are told.

    The caller has made sure that there is at least one run.
    """
    by_id = {run.run_id: run for run in runs}
    wanted = st.query_params.get(key)
    if wanted is not None and wanted not in by_id:
        st.warning(f"There is no run `{wanted[:60]}` to show here. Choose one below; Home lists them all.")
        wanted = None
        if st.session_state.get(key) not in by_id:
            st.session_state.pop(key, None)
    ids = list(by_id)
    widget = f"_{key}_picker"
    if st.session_state.get(widget) not in by_id:
        st.session_state[widget] = wanted or ids[0]
    elif wanted is not None and st.session_state.get(f"_{key}_url") != wanted:
        st.session_state[widget] = wanted
    chosen = st.selectbox("Run", ids, key=widget, format_func=lambda run_id: run_name(by_id[run_id]))
    st.query_params[key] = chosen
    st.session_state[f"_{key}_url"] = chosen
    return by_id[chosen]


def control_buttons(store: Store, run: Run) -> None:
    """Stop for an active run, Resume for one that ended early."""
    if run.state in ("queued", "running"):
        st.button(
            "Stop", icon=":material/stop_circle:", key=f"stop_{run.run_id}", on_click=attempt,
            args=(lambda: stop(store, run.run_id),), help="Ends within seconds. Finished units stay; you can resume.",
        )  # fmt: skip
    elif run.state == "stopping":
        st.button("Stopping…", disabled=True, key=f"stop_{run.run_id}")
    elif run.state != "done":
        st.button(
            "Resume", icon=":material/play_circle:", key=f"resume_{run.run_id}", on_click=attempt,
            args=(lambda: resume(store, run.run_id),), help="Goes on from the finished units.",
        )  # fmt: skip


def still_chart(figure: go.Figure, name: str, *, alt: str, rows: Sequence[Sequence[object]] | None = None) -> None:
    """A chart of finished numbers with its exports: HTML that works offline, CSV of what is shown, PNG by the browser."""
    st.plotly_chart(figure, key=f"chart_{name}", theme=None, config=CONFIG, alt=alt)
    exports(figure, name, rows)


def exports(figure: go.Figure, name: str, rows: Sequence[Sequence[object]] | None = None) -> None:
    """Small download buttons below a chart."""
    with st.container(horizontal=True, gap="small"):
        st.download_button(
            "HTML", data=lambda: to_html(figure, name), file_name=f"{name}.html", mime="text/html", type="tertiary",
            key=f"html_{name}", on_click="ignore", help="The figure as one file that works offline. "
            "For PNG use the camera in the figure's corner.",
        )  # fmt: skip
        if rows is not None:
            st.download_button(
                "CSV", data=lambda: to_csv(rows), file_name=f"{name}.csv", mime="text/csv", type="tertiary",
                key=f"csv_{name}", on_click="ignore", help="The numbers shown.",
            )  # fmt: skip


def to_csv(rows: Sequence[Sequence[object]]) -> str:
    """Rows, the first being the header, as CSV."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def command_box(command: str) -> None:
    """The command that does the same."""
    with st.expander("The same on the command line"):
        st.code(command, language="bash")


def command(spec: RunSpec) -> str:
    """The command line that repeats a run's spec."""
    own = spec.construction
    zoo = shlex.quote(spec.zoo.name if spec.zoo_path.endswith(f"/assets/zoos/{spec.zoo.name}.yaml") else spec.zoo_path)
    tail = f" --device {spec.device}"
    parts = []
    if own is not None:
        line = f"python -m fda construct --zoo {zoo} --preset {own.preset} --init {own.init}"
        if own.init == "gauss":
            line += f" --sigma {own.sigma:g}"
        line += f" --anchors {own.anchors} --steps {own.steps}" + (f" --tokens {own.tokens}" if own.tokens else "")
        if spec.tasks != spec.zoo.task_names:
            line += f" --tasks {','.join(spec.tasks)}"
        if spec.blocks:
            line += f" --blocks {','.join(map(str, spec.blocks))}"
        parts.append(f"{line} --seed {own.seed}{tail}")
    if spec.methods:
        anchors = f" --anchors {spec.anchors_run or 'RUN_ID'}" if spec.anchors_run or own is not None else ""
        parts.append(f"python -m fda compare --zoo {zoo}{anchors} --methods {','.join(spec.methods)}{tail}")
    return "\n".join(parts)

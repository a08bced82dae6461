"""What asks for a panel: its question with the help behind the ?, the button that has it computed, its helper run at work."""

import time

import streamlit as st

from fda.errors import UserError
from fda.report.analyses import WORDS
from fda.report.format import duration
from fda.requests.helper_runs import start_helper
from fda.store.analyses import Panel
from fda.store.records import Run
from fda.store.spec import RunSpec
from fda.ui import notices
from fda.ui.actions import action_button
from fda.ui.page import TEXTS
from fda.ui.runs import stop, store

TICK = 1.0


def question(panel: Panel) -> None:
    """The panel's question; its help gives definition, how to read the figure, and source."""
    about = (TEXTS / "analyses" / f"{panel}.md").read_text(encoding="utf-8")
    st.markdown(f"**{WORDS[panel].asks}**", help=about, width="content")


def ask(panel: Panel, spec: RunSpec, newest: Run | None, *, there: bool) -> None:
    """The button that starts the helper run `spec`; the `newest` such run while it is at work, and why it failed.

    `there`: whether the panel is shown already.
    """
    if newest is not None and newest.active:
        st.fragment(_computing, run_every=TICK)(newest.run_id)
        return
    if newest is not None and newest.state in ("failed", "crashed"):
        notices.problem(f"this panel could not be computed: {newest.message}")
    action_button(
        "Compute again" if there else "Compute",
        "start",
        icon=":material/calculate:",
        type="tertiary" if there else "secondary",
        key=f"compute_{panel}",
        do=lambda: _start(spec),
    )


def _computing(run_id: str) -> None:
    run = store().run(run_id)
    if not run.active:
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        doing = "Waiting for the device" if run.state == "queued" else "Computing"
        st.markdown(f":material/hourglass_top: {doing}, for {duration(time.time() - run.created)} …", width="content")
        action_button("Stop", "stop", run, type="tertiary", key="compute_stop", on_click=stop, args=(run_id,))


def _start(spec: RunSpec) -> None:
    """Start computing a panel."""
    try:
        start_helper(store(), spec)
    except UserError as error:
        notices.keep_problem(str(error))

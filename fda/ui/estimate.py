"""What a run will take, on a page: told at once where this device has been measured for it, else after a button is pressed.

Measuring is a helper run that does the run's own work for some seconds: torch stays out of the server.
"""

import time

import streamlit as st

from fda.errors import UserError
from fda.report.format import duration, size
from fda.requests import cost
from fda.requests.cost import Prediction
from fda.requests.helper_runs import estimate_spec, newest_of, start_helper
from fda.store.spec import RunSpec
from fda.store.store import Store
from fda.ui import notices
from fda.ui.actions import action_button
from fda.ui.runs import stop, store

TICK = 1.0


def show_estimate(spec: RunSpec, *, busy: bool) -> None:
    """What the run of `spec`, which constructs, will take. `busy`: another run is at work, which would be measured too."""
    known = cost.kept_calibration(spec)
    if known is not None and not cost.missing(spec, known):
        st.caption(f":material/timer: {sentence(cost.predict(spec, known))}")
        return
    asked = estimate_spec(spec)
    run = newest_of(store(), asked)
    if run is not None and run.active:
        st.fragment(_measuring, run_every=TICK)(run.run_id)
        return
    if run is not None and run.state in ("failed", "crashed"):
        notices.problem(f"measuring failed: {run.message}")
    action_button(
        "Measure what it will take",
        "start",
        icon=":material/timer:",
        key="measure",
        disabled=busy,
        do=lambda: measure(asked),
        help="Does some seconds of this run's work on its device, and tells time, memory and disk from them. Kept for "
        "later. " + ("Wait until no run is at work." if busy else "May take a minute where steps are compiled."),
    )


def _measuring(run_id: str) -> None:
    """The state of the run that measures; when it has ended the page is made anew."""
    known = store()
    run = known.run(run_id)
    if not run.active:
        st.rerun()
    doing = "Waiting for the device" if run.state == "queued" else "Doing some seconds of this run's work"
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        took = duration(time.time() - run.created)
        st.markdown(f":material/hourglass_top: {doing}, for {took} …", width="content")
        action_button(
            "Stop", "stop", run, type="tertiary", on_click=stop, args=(run_id,), disabled=run.state == "stopping",
            key="measure_stop",
        )  # fmt: skip


def measure(asked: RunSpec) -> None:
    """Start the run that measures; what it measured is kept in the cache of calibrations."""
    try:
        start_helper(Store(), asked)
    except UserError as error:
        notices.keep_problem(str(error))


def sentence(prediction: Prediction) -> str:
    """Time with its parts, memory and disk, in one line."""
    parts = [f"{cost.PARTS[name]} {duration(value)}" for name, value in prediction.stages.items() if value >= 1]
    text = f"About {duration(prediction.seconds)} on this device ({', '.join(parts)})"
    text += f"; memory {size(prediction.memory_bytes)}, disk {size(prediction.disk_bytes)}."
    if prediction.uncounted:
        text += f" Not counted: merging by {', '.join(prediction.uncounted)}."
    return text.replace("_", "\\_")

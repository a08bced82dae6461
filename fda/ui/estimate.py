"""What a run will take, on a page: told at once where this device has been measured for it, else after a button is pressed.

Measuring runs the run's own work for some seconds, in a process of its own: torch stays out of the server.
"""

import streamlit as st

from fda.children import Limits, run_child
from fda.errors import UserError
from fda.report.format import duration, size
from fda.requests import cost
from fda.requests.cost import Prediction
from fda.store.spec import RunSpec
from fda.ui import notices

SECONDS = 900


def show_estimate(spec: RunSpec, *, busy: bool) -> None:
    """What the run of `spec`, which constructs, will take. `busy`: another run is at work, which would be measured too."""
    known = cost.kept_calibration(spec)
    if known is not None and not cost.missing(spec, known):
        st.caption(f":material/timer: {sentence(cost.predict(spec, known))}")
        return
    pressed = st.button(
        "Measure what it will take",
        icon=":material/timer:",
        key="measure",
        disabled=busy,
        help="Does some seconds of this run's work on its device, and tells time, memory and disk from them. Kept for "
        "later. " + ("Wait until no run is at work." if busy else "May take a minute where steps are compiled."),
    )
    if pressed:
        with notices.noticed(), st.spinner("Doing some seconds of this run's work …"):
            measure(spec)
            st.rerun()


def sentence(prediction: Prediction) -> str:
    """Time with its parts, memory and disk, in one line."""
    parts = [f"{cost.PARTS[name]} {duration(value)}" for name, value in prediction.stages.items() if value >= 1]
    told = f"About {duration(prediction.seconds)} on this device ({', '.join(parts)})"
    told += f"; memory {size(prediction.memory_bytes)}, disk {size(prediction.disk_bytes)}."
    if prediction.uncounted:
        told += f" Not counted: merging by {', '.join(prediction.uncounted)}."
    return told.replace("_", "\\_")


def measure(spec: RunSpec) -> None:
    """Measure this device for `spec`; what was measured is kept. UserError if it cannot be."""
    words, text = ("-m", "fda.stages.calibrate"), spec.model_dump_json()
    done = run_child(words, Limits(SECONDS), what="this device", instead="start the run instead", text=text)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("fda: ")]
        raise UserError(
            lines[-1].removeprefix("fda: ")
            if done.returncode == 2 and lines
            else f"measuring failed (exit code {done.returncode}): `python -m fda estimate` shows why."
        )

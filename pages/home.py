"""Home: the idea in a picture, a button that starts the demo, the runs in progress, and the table of all runs."""

from collections import Counter

import streamlit as st

from fda.errors import UserError
from fda.jobs import lifecycle as jobs
from fda.requests.runs import MAIN_METHODS, construct_settings, make_spec
from fda.store.records import ACTIVE, Run
from fda.store.spec import RunSpec
from fda.store.store import ALL
from fda.ui import clock, notices, pages
from fda.ui.explain import picture
from fda.ui.page import bar, command_box
from fda.ui.runs import run_line, store, unreadable_lines
from fda.ui.runs_table import forget_rows, show_dialog, show_table, show_undo
from fda.zoos.zoo import load_zoo


def demo_spec() -> RunSpec:
    construct = construct_settings("fast", family=load_zoo("demo").family)
    return make_spec("demo", construct=construct, methods=MAIN_METHODS, device="auto")


def start_demo() -> None:
    """Callback: start the demo; the page then switches to Watch."""
    try:
        st.session_state["go"] = jobs.start(store(), demo_spec())
    except UserError as error:
        notices.keep_problem(str(error))


if run_id := st.session_state.pop("go", None):
    st.switch_page(pages.WATCH, query_params={"run": run_id})

bar("Functional dual anchors", "The idea in a picture, the demo, and all runs.", "home")
st.markdown(
    "Models finetuned from the same base can be merged into one without their data: synthetic inputs, the *anchors*, "
    "stand for what each model learned. Construct anchors here, watch how they change, and compare the merged model with "
    "those of other methods."
)
picture()
notices.show_kept()

with notices.noticed(stop=True):
    known = store()
    runs = known.runs(states=ACTIVE, limit=ALL)

active_demo = next((run for run in runs if run.active and run.kind == "demo" and run.spec.zoo.name == "demo"), None)
with st.container(horizontal=True, vertical_alignment="center"):
    if active_demo is None:
        st.button("Start the demo", type="primary", icon=":material/play_arrow:", on_click=start_demo)
        takes = clock.told_before(known, demo_spec()) or "some minutes"
        st.caption(f"Real checkpoints, included in the package: takes {takes}, without network or GPU.")
    else:
        if st.button("Watch the demo run", type="primary", icon=":material/monitoring:"):
            st.switch_page(pages.WATCH, query_params={"run": active_demo.run_id})
        st.caption("The demo is running.")


def show_active() -> None:
    """The runs at work and in the queues. The whole page runs again once one has begun, ended or moved."""
    with notices.noticed():
        known = store()
        active = active_runs(known.runs(states=ACTIVE, limit=ALL))
        if states_of(active) != expected:
            st.rerun()
        if not active:
            return
        st.subheader("In progress", anchor=False)
        last = Counter(run.device for run in active if run.state == "queued")
        for run in active:
            position = known.queue_position(run.run_id)
            run_line(known, run, position, last=position == last[run.device])


def active_runs(runs: list[Run]) -> list[Run]:
    """Those at work, then those in the queues in their order."""
    return sorted((run for run in runs if run.active), key=lambda run: (run.state == "queued", run.queued or 0.0))


def states_of(runs: list[Run]) -> list[tuple[str, str]]:
    return [(run.run_id, run.state) for run in runs]


expected = states_of(active_runs(runs))
st.fragment(show_active, run_every=2.0 if expected else None)()
st.subheader("Runs", anchor=False)
show_undo()
forget_rows()
st.fragment(show_table)()
show_dialog()
with notices.noticed():
    unreadable_lines(known)
command_box(["python -m fda demo", "python -m fda runs list", "python -m fda runs name RUN_ID 'short steps'"])

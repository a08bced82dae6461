"""Home: a recording of the demo, which plays at once, a button that runs it here, the runs in progress, and all runs."""

from collections import Counter

import streamlit as st

from fda.errors import UserError
from fda.jobs import lifecycle as jobs
from fda.report.replay import when_and_where
from fda.requests.runs import MAIN_METHODS, construct_settings, make_spec
from fda.store.records import ACTIVE, Run
from fda.store.spec import RunSpec
from fda.store.store import ALL
from fda.ui import clock, notices, pages
from fda.ui.actions import action_button
from fda.ui.explain import picture
from fda.ui.page import bar, command_box
from fda.ui.recording import demo, play
from fda.ui.runs import run_line, store, unreadable_lines
from fda.ui.runs_table import forget_rows, show_dialog, show_table, show_undo
from fda.zoos.zoo import load_zoo


def demo_spec() -> RunSpec:
    construct = construct_settings("fast", family=load_zoo("demo").family)
    return make_spec("demo", construct=construct, methods=MAIN_METHODS, device="auto", coarse_landscape=True)


def start_demo() -> None:
    """Start the demo and open its run."""
    try:
        run_id = jobs.start(store(), demo_spec())
    except UserError as error:
        notices.keep_problem(str(error))
    else:
        st.switch_page(pages.RUN, query_params={"run": run_id})


bar("Functional dual anchors", "The demo as a recording, and all runs.", "home")
notices.show_kept()
with notices.noticed():
    recorded = demo()
    play(
        recorded,
        title=f"{len(recorded.tasks)} models, one merge, no data",
        label=f"Recorded on {when_and_where(recorded)}",
    )

with notices.noticed(stop=True):
    known = store()
    runs = known.runs(states=ACTIVE, limit=ALL)

active_demo = next((run for run in runs if run.active and run.kind == "demo" and run.spec.zoo.name == "demo"), None)
with st.container(horizontal=True, vertical_alignment="center"):
    if active_demo is None:
        action_button("Run it here", "start", type="primary", icon=":material/play_arrow:", do=start_demo)
        takes = clock.told_before(known, demo_spec()) or "some minutes"
        st.caption(f"Takes {takes}, without network or GPU.", width="content")
    else:
        if st.button("Open the demo run", type="primary", icon=":material/monitoring:"):
            st.switch_page(pages.RUN, query_params={"run": active_demo.run_id})
        st.caption("The demo is running.", width="content")
    st.page_link(pages.CHECKPOINTS, label="My checkpoints", icon=":material/deployed_code:")
    st.page_link(pages.PLAYGROUND, label="Try one layer by hand", icon=":material/science:")

with st.expander("The idea in three drawings", icon=":material/lightbulb:"):
    picture()


def show_active() -> None:
    """The runs at work and in the queues. The whole page runs again once one has begun, ended or moved."""
    with notices.noticed():
        known = store()
        active = active_runs(known.runs(states=ACTIVE, limit=ALL))
        if states_of(active) != expected:
            st.rerun()
        if not active:
            return
        st.header("In progress", anchor=False)
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
st.header("Runs", anchor=False)
show_undo()
forget_rows()
st.fragment(show_table)()
show_dialog()
with notices.noticed():
    unreadable_lines(known)
command_box(["python -m fda demo", "python -m fda runs list", "python -m fda runs name RUN_ID 'short steps'"])

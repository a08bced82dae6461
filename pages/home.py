"""Home: the idea in a picture, a button that starts the demo, and all runs."""

import streamlit as st

from fda.errors import UserError
from fda.jobs import lifecycle as jobs
from fda.requests.runs import MAIN_METHODS, construct_settings, make_spec
from fda.ui import notices, pages
from fda.ui.explain import picture
from fda.ui.page import bar, command_box
from fda.ui.runs import run_line, store, unreadable_lines
from fda.zoos.zoo import load_zoo

RECENT = 8


def start_demo() -> None:
    """Callback: start the demo; the page then switches to Watch."""
    try:
        construct = construct_settings("fast", family=load_zoo("demo").family)
        spec = make_spec("demo", construct=construct, methods=MAIN_METHODS, device="auto")
        st.session_state["go"] = jobs.start(store(), spec)
    except UserError as error:
        notices.keep_problem(str(error))


def more() -> None:
    """Callback: show more ended runs."""
    st.session_state["home_shown"] = st.session_state.get("home_shown", RECENT) + RECENT


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
    runs = known.runs()

active_demo = next((run for run in runs if run.active and run.kind == "demo" and run.spec.zoo.name == "demo"), None)
with st.container(horizontal=True, vertical_alignment="center"):
    if active_demo is None:
        st.button("Start the demo", type="primary", icon=":material/play_arrow:", on_click=start_demo)
        st.caption("Real checkpoints, included in the package: takes minutes, without network or GPU.")
    else:
        if st.button("Watch the demo run", type="primary", icon=":material/monitoring:"):
            st.switch_page(pages.WATCH, query_params={"run": active_demo.run_id})
        st.caption("The demo is running.")


def show_runs() -> None:
    with notices.noticed():
        known = store()
        runs = known.runs()
        active = [run for run in runs if run.active]
        ended = [run for run in runs if not run.active]
        if sorted(run.run_id for run in active) != sorted(expected):
            st.rerun()
        if active:
            st.subheader("In progress", anchor=False)
            for run in active:
                run_line(run, known.queue_position(run.run_id))
        st.subheader("Recent runs", anchor=False)
        if not ended:
            notices.empty("No run has ended yet: start the demo above, or choose your own checkpoints on Construct.")
        shown = st.session_state.get("home_shown", RECENT)
        for run in ended[:shown]:
            run_line(run, None)
        unreadable_lines(known)
        if len(ended) > shown:
            st.button(f"Show more ({len(ended) - shown})", on_click=more, type="tertiary")


expected = [run.run_id for run in runs if run.active]
st.fragment(show_runs, run_every=2.0 if expected else None)()
command_box(["python -m fda demo", "python -m fda runs list"])

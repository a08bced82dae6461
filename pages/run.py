"""Run: one run, live and afterwards, in five views: units, scores, examples of its answers, landscape, and analyses."""

import streamlit as st

from fda.report.command import run_commands
from fda.store.records import Run
from fda.store.store import Store
from fda.ui import notices, pages
from fda.ui.actions import action_button
from fda.ui.page import bar, command_box
from fda.ui.recording import play, recording_of
from fda.ui.run.analyses import analyses_view
from fda.ui.run.anchors import show_ablation
from fda.ui.run.examples import examples_view
from fda.ui.run.landscape import landscape_view
from fda.ui.run.live import show_ticker
from fda.ui.run.scores import scores_view
from fda.ui.run.units import units_view
from fda.ui.runs import RESUMABLE, damage_note, pick_run, published_note, resume, stop, store
from fda.ui.visitor import show_starter

UNITS, SCORES, EXAMPLES, LANDSCAPE, ANALYSES = VIEWS = ("Units", "Scores", "Examples", "Landscape", "Analyses")
ABOUT = {
    UNITS: (
        "Anchors as they are constructed and afterwards: whether the loss falls, and whether their space turns towards "
        "real data.",
        "units",
        "anchors",
    ),
    SCORES: (
        "What each way of merging the same checkpoints is worth on every task, and what the anchors add to it.",
        "scores",
    ),
    EXAMPLES: (
        "Which test samples two methods answer differently, what each says, and how sure it is.",
        "examples",
    ),
    LANDSCAPE: (
        "Whether anchors lead the model to a lower loss than task arithmetic can reach: the loss around it, and every path.",
        "landscape",
    ),
    ANALYSES: (
        "Why merged models score as they do: what the layers, the task vectors and the anchors have to say about it.",
        "analyses",
    ),
}

REPLAY = "replay_asked"  # key in the session


def ask_replay() -> None:
    """Callback: open the dialog in this run of the script alone, so that a later one does not bring it back."""
    st.session_state[REPLAY] = True


@st.dialog("Replay", width="large")
def show_replay(known: Store, run: Run) -> None:
    with notices.noticed():
        play(recording_of(run, known))


asked = st.query_params.get("view")
opened = asked if asked in VIEWS else UNITS
top = bar("Run", *ABOUT[opened])
notices.show_kept()

with notices.noticed(stop=True):
    known = store()
    runs = known.runs()
if not runs and "run" not in st.query_params:
    notices.empty("There is no run yet: start the demo on Home, or choose checkpoints and settings on Construct.")
    st.page_link(pages.HOME, label="Home", icon=":material/home:")
    show_ablation(known, runs)
    st.stop()
run = pick_run(
    runs,
    known,
    into=top,
    key="picked_run",
    wrong="Run {run} is not among the newest 200: `python -m fda runs show` has it",
)
if run is None:
    st.stop()

with top:
    view = st.segmented_control(
        "View", VIEWS, default=UNITS, required=True, key="view", bind="query-params", label_visibility="collapsed"
    )
    progress = st.container(key="live")
    if run.state in ("queued", "running"):
        action_button("Stop", "stop", run, icon=":material/stop_circle:", on_click=stop, args=(run.run_id,), key="stop")
    elif run.state == "stopping":
        st.button("Stopping…", icon=":material/pending:", disabled=True, key="stop")
    elif run.state in RESUMABLE:
        action_button(
            "Resume",
            "resume",
            run,
            type="primary",
            icon=":material/resume:",
            on_click=resume,
            args=(run.run_id,),
            key="resume",
        )
    if run.state == "done" and run.kind in ("demo", "construct", "compare"):
        st.button("Replay", icon=":material/replay:", type="tertiary", on_click=ask_replay, key="replay")
if st.session_state.pop(REPLAY, False):
    show_replay(known, run)
published_note(run)
with notices.noticed():
    damage_note(run, known)
if run.message and run.state in RESUMABLE:
    (notices.empty if run.state == "cancelled" else notices.problem)(run.message)

if view == UNITS:
    units_view(known, run, runs, progress)
else:
    show_ticker(known, run, progress)
    if view == SCORES:
        scores_view(known, run)
    elif view == EXAMPLES:
        examples_view(known, run)
    elif view == ANALYSES:
        analyses_view(known, run)
    else:
        landscape_view(known, run, runs)
show_starter(run)
shown = f"python -m fda analyse {run.run_id}" if view == ANALYSES else f"python -m fda runs show {run.run_id} --json"
command_box([*run_commands(run.spec, run.run_id), shown])

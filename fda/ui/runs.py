"""Runs on pages: the run picker, badges, buttons, notes, and the lines of the run list."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from fda.errors import UserError
from fda.escape import markdown
from fda.jobs import lifecycle as jobs
from fda.jobs.liveness import LiveStore
from fda.report.runs_table import kind_in_words
from fda.store.finished import damaged_files
from fda.store.records import Run, UnreadableRun
from fda.store.store import Store
from fda.ui import clock, notices, pages
from fda.ui.actions import action_button

BADGES: dict[str, tuple[str, Literal["gray", "blue", "orange", "green", "red"]]] = {  # state → icon, colour
    "queued": ("hourglass_empty", "gray"),
    "running": ("play_circle", "blue"),
    "stopping": ("pending", "orange"),
    "done": ("check_circle", "green"),
    "failed": ("error", "red"),
    "cancelled": ("cancel", "gray"),
    "crashed": ("heart_broken", "red"),
}
RESUMABLE = ("cancelled", "crashed", "failed")
_LAST_RUN = "run"  # key in the session


def store() -> Store:
    """The store of this FDA_HOME, with run states checked against their processes. Reading writes nothing."""
    return LiveStore()


def badge(run: Run) -> None:
    icon, colour = BADGES[run.state]
    st.badge(run.state, icon=f":material/{icon}:", color=colour)


def labels(runs: Sequence[Run]) -> dict[str, str]:
    """Run id → what a picker calls the run: its name, or its id where it has none or shares its label."""
    counts = Counter(map(_label, runs))
    return {run.run_id: (_label(run) if counts[_label(run)] == 1 else f"{_label(run)} · {run.run_id}") for run in runs}


def _label(run: Run) -> str:
    return f"{run.title} · {run.spec.zoo.name} · {kind_in_words(run.spec)} · {run.state}"


def published_note(run: Run) -> None:
    """For published anchors only: where they come from, and why each curve has one point."""
    if run.spec.published is not None:
        note = (
            f"Others constructed these anchors; they were imported from `{Path(run.spec.published).name}`. Only their last "
            "step is known: each is measured once, there, and its angle loss is computed anew."
        )
        st.caption(notices.sentence(note))


def pick_run(runs: list[Run], known: Store, *, into: DeltaGenerator, key: str, wrong: str) -> Run | None:
    """A run picker in the container `into`.

    Starts with the run in the URL (`?run=`), else the last one shown, else the newest active, else the newest.

    Writes the choice to the URL. For an id that is not among `runs` it shows why and returns None; `wrong` is the message
    for a run that exists but does not belong on this page.
    """
    ids = [run.run_id for run in runs]
    asked = st.query_params.get("run") or st.session_state.get(_LAST_RUN)
    if asked is None or (asked not in ids and "run" not in st.query_params):
        at_work = [run for run in runs if run.active]
        at_work.sort(key=lambda run: run.state == "queued")
        asked = at_work[0].run_id if at_work else ids[0]
    known_id = asked in ids
    titles = labels(runs)

    def choose() -> None:
        if st.session_state[key]:
            st.query_params["run"] = st.session_state[_LAST_RUN] = st.session_state[key]

    st.session_state[key] = asked if known_id else None
    into.selectbox(
        "Run",
        ids,
        index=0 if known_id else None,
        format_func=titles.__getitem__,
        key=key,
        on_change=choose,
        placeholder="choose a run",
        label_visibility="collapsed",
        width=250,
    )
    if not known_id:
        try:
            known.run(asked)
            notices.problem(wrong.format(run=asked))
        except UserError as error:
            notices.problem(str(error).rstrip(".") + ": choose one of the list above.")
        return None
    st.query_params["run"] = st.session_state[_LAST_RUN] = asked
    return next(run for run in runs if run.run_id == asked)


def stop(run_id: str) -> None:
    """Callback: request that a run stops."""
    try:
        jobs.stop(Store(), run_id)
    except UserError as error:
        notices.keep_problem(str(error))


def resume(run_id: str) -> None:
    """Callback: continue a run that ended early."""
    try:
        jobs.resume(Store(), run_id)
    except UserError as error:
        notices.keep_problem(str(error))


def delete(run_id: str) -> None:
    """Callback: delete a run and its files."""
    try:
        jobs.delete(Store(), run_id)
    except UserError as error:
        notices.keep_problem(str(error))


def move(run_id: str, places: Literal[-1, 1]) -> None:
    """Callback: move a queued run one place forward (-1) or back (1)."""
    try:
        jobs.move(Store(), run_id, places)
    except UserError as error:
        notices.keep_problem(str(error))


def run_line(known: Store, run: Run, position: int | None, *, last: bool) -> None:
    """An active run: state, kind, progress, and what can be done with it. `last`: nothing waits behind it."""
    with st.container(border=True, key=f"line-{run.run_id}"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            badge(run)
            title = (
                f"**{markdown(run.title)}** · {markdown(run.spec.zoo.name)}"
                if run.name
                else f"**{markdown(run.spec.zoo.name)}**"
            )
            st.markdown(f"{title} · {kind_in_words(run.spec)}", width="content")
            queue = f" · {clock.Clock(known, run, [], time.time()).status}" if run.state == "queued" else ""
            st.caption(f"`{run.run_id}`{queue}", width="stretch")
            st.page_link(pages.RUN, label="Open", icon=":material/monitoring:", query_params={"run": run.run_id})
            _buttons(run, position, last=last)
        if run.state != "queued":
            now = clock.Clock(known, run, known.units(run.run_id), time.time())
            st.progress(now.progress, now.status)
        if run.message and run.state != "queued":
            st.caption(notices.sentence(run.message))


def _buttons(run: Run, position: int | None, *, last: bool) -> None:
    """Stop or cancel, and the place in the queue."""
    if run.state == "queued":
        for word, icon, places, disabled in (
            ("Move up", "arrow_upward", -1, position == 1),
            ("Move down", "arrow_downward", 1, last),
        ):
            action_button(
                word,
                "move",
                run,
                icon=f":material/{icon}:",
                key=f"{word.lower().replace(' ', '-')}-{run.run_id}",
                on_click=move,
                args=(run.run_id, places),
                disabled=disabled,
                type="tertiary",
            )
    word = {"queued": "Cancel", "running": "Stop", "stopping": "Stopping…"}[run.state]
    stopping = run.state == "stopping"
    icon = ":material/pending:" if stopping else ":material/stop_circle:"
    action_button(
        word, "stop", run, icon=icon, key=f"stop-{run.run_id}", on_click=stop, args=(run.run_id,), disabled=stopping
    )


def unreadable_lines(known: Store) -> None:
    """The runs whose rows cannot be read, each with the reason and a button to delete it."""
    for run in known.unreadable_runs():
        with st.container(border=True, key=f"unreadable-{run.run_id}"):
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.badge("unreadable", icon=":material/broken_image:", color="red")
                st.caption(f"`{notices.sentence(run.run_id)}`", width="stretch")
                if not run.active:
                    _delete_button(run)
            st.caption(notices.sentence(run.problem))


def damage_note(run: Run, known: Store) -> None:
    """An error with a Resume button if finished files of a run have changed on disk; else nothing."""
    damaged = {} if run.active else damaged_files(known, run.run_id, "changes")
    if not damaged:
        return
    path, damage = next(iter(damaged.items()))
    more = f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""
    notices.problem(f"{path} {damage}{more}: Resume makes it again, from the same settings to the same bytes.")
    if run.state not in RESUMABLE:
        action_button(
            "Resume", "resume", run, icon=":material/resume:", on_click=resume, args=(run.run_id,), key="resume-damaged"
        )


def _delete_button(run: UnreadableRun) -> None:
    with st.popover("Delete", type="tertiary", key=f"delete-{run.run_id}"):
        st.write("Deletes its anchors, merged models and numbers too.")
        action_button("Delete for good", "delete", run, key=f"sure-{run.run_id}", on_click=delete, args=(run.run_id,))

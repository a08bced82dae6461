"""Runs as pages show them: which one is looked at, its badge, its buttons, its line in a list."""

import time
from pathlib import Path

import streamlit as st

from fda.errors import UserError
from fda.escape import markdown
from fda.jobs import lifecycle as jobs
from fda.jobs.liveness import LiveStore
from fda.report.format import ago, duration
from fda.store.finished import damaged_files
from fda.store.records import Run, UnreadableRun
from fda.store.store import Store
from fda.ui import notices, pages
from fda.ui.clock import elapsed

BADGES = {
    "queued": ("hourglass_empty", "gray"),
    "running": ("play_circle", "blue"),
    "stopping": ("pending", "orange"),
    "done": ("check_circle", "green"),
    "failed": ("error", "red"),
    "cancelled": ("cancel", "gray"),
    "crashed": ("heart_broken", "red"),
}
KINDS = {
    "demo": "anchors and comparison",
    "construct": "anchors",
    "compare": "comparison",
    "landscape": "loss landscape",
}
RESUMABLE = ("cancelled", "crashed", "failed")
_LOOKED_AT = "run"


def store() -> Store:
    """The store of this FDA_HOME, in which each run is in the state of its process. Reading it writes nothing."""
    return LiveStore()


def badge(run: Run) -> None:
    icon, colour = BADGES[run.state]
    st.badge(run.state, icon=f":material/{icon}:", color=colour)


def label(run: Run) -> str:
    return f"{run.run_id} · {run.spec.zoo.name} · {kind(run)} · {run.state}"


def kind(run: Run) -> str:
    """What a run makes, in words."""
    return "published anchors" if run.spec.published is not None else KINDS[run.kind]


def published_note(run: Run) -> None:
    """Where anchors come from that others constructed, and why each curve is one point; nothing for anchors of our own."""
    if run.spec.published is not None:
        told = (
            f"Others constructed these anchors; they were imported from `{Path(run.spec.published).name}`. What they were "
            "on the way is not known: each is measured once, at its last step, and its angle loss is computed anew."
        )
        st.caption(notices.sentence(told))


def pick_run(runs: list[Run], known: Store, *, key: str, wrong: str) -> Run | None:
    """The run in the URL (`?run=`), else the one last looked at, else the newest at work or waiting, else the
    newest.

    Pins the choice in the URL and offers the others. For an id that is not among `runs`, says why and returns None;
    `wrong` is what to say of a run that exists but cannot be shown here.
    """
    ids = [run.run_id for run in runs]
    asked = st.query_params.get("run") or st.session_state.get(_LOOKED_AT)
    if asked is None or (asked not in ids and "run" not in st.query_params):
        at_work = [run for run in runs if run.active]
        at_work.sort(key=lambda run: run.state == "queued")
        asked = at_work[0].run_id if at_work else ids[0]
    found = asked in ids
    titles = {run.run_id: label(run) for run in runs}

    def choose() -> None:
        if st.session_state[key]:
            st.query_params["run"] = st.session_state[_LOOKED_AT] = st.session_state[key]

    st.session_state[key] = asked if found else None
    st.selectbox(
        "Run",
        ids,
        index=0 if found else None,
        format_func=titles.get,
        key=key,
        on_change=choose,
        placeholder="choose a run",
    )
    if not found:
        try:
            known.run(asked)
            notices.problem(wrong.format(run=asked))
        except UserError as error:
            notices.problem(str(error).rstrip(".") + ": choose one of the list above.")
        return None
    st.query_params["run"] = st.session_state[_LOOKED_AT] = asked
    return next(run for run in runs if run.run_id == asked)


def stop(run_id: str) -> None:
    """Callback: ask a run to stop."""
    try:
        jobs.stop(Store(), run_id)
    except UserError as error:
        notices.keep_problem(str(error))


def resume(run_id: str) -> None:
    """Callback: go on with a run that ended early."""
    try:
        jobs.resume(Store(), run_id)
    except UserError as error:
        notices.keep_problem(str(error))


def delete(run_id: str) -> None:
    """Callback: remove a run with its files."""
    try:
        jobs.delete(Store(), run_id)
    except UserError as error:
        notices.keep_problem(str(error))


def run_line(run: Run, position: int | None) -> None:
    """One run in a list: state, what it is, how far, and where to go from here."""
    with st.container(border=True, key=f"line-{run.run_id}"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            badge(run)
            st.markdown(f"**{markdown(run.spec.zoo.name)}** · {kind(run)}", width="content")
            st.caption(f"`{run.run_id}` · {_when(run, position)}", width="stretch")
            _links(run)
        if run.units_total and run.state != "done":
            st.progress(run.units_done / run.units_total, f"{run.units_done} of {run.units_total} units")
        if run.message and run.state not in ("done", "queued"):
            st.caption(notices.sentence(run.message))


def unreadable_lines(known: Store) -> None:
    """The runs whose rows cannot be read, each with its sentence and a way to be rid of it; nothing if there are none."""
    for run in known.unreadable_runs():
        with st.container(border=True, key=f"unreadable-{run.run_id}"):
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.badge("unreadable", icon=":material/broken_image:", color="red")
                st.caption(f"`{notices.sentence(run.run_id)}`", width="stretch")
                if not run.active:
                    _delete_button(run)
            st.caption(notices.sentence(run.problem))


def damage_note(run: Run, known: Store) -> None:
    """Which finished files of a run are no longer as they were written, and how to have them made again; nothing if none."""
    damaged = {} if run.active else damaged_files(known, run.run_id, "changes")
    if not damaged:
        return
    path, told = next(iter(damaged.items()))
    others = f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""
    notices.problem(f"{path} {told}{others}: Resume makes it again, from the same settings to the same bytes.")
    if run.state not in RESUMABLE:
        st.button("Resume", icon=":material/resume:", on_click=resume, args=(run.run_id,), key="resume-damaged")


def _links(run: Run) -> None:
    """Horizontal containers take them up beside the text, or below it on a narrow screen."""
    here = {"run": run.run_id}
    st.page_link(pages.WATCH, label="Watch", icon=":material/monitoring:", query_params=here)
    if run.spec.construction is not None:
        st.page_link(pages.ANCHORS, label="Anchors", icon=":material/anchor:", query_params=here)
    if run.spec.methods:
        st.page_link(pages.COMPARE, label="Compare", icon=":material/leaderboard:", query_params=here)
    if run.kind == "landscape":
        st.page_link(pages.LANDSCAPE, label="Landscape", icon=":material/landscape:", query_params=here)
    if run.state in RESUMABLE:
        st.button("Resume", key=f"resume-{run.run_id}", on_click=resume, args=(run.run_id,), type="tertiary")
    if not run.active:
        _delete_button(run)


def _delete_button(run: Run | UnreadableRun) -> None:
    with st.popover("Delete", type="tertiary", key=f"delete-{run.run_id}"):
        st.write("Its anchors, merged models and numbers go with it.")
        st.button("Delete for good", key=f"sure-{run.run_id}", on_click=delete, args=(run.run_id,))


def _when(run: Run, position: int | None) -> str:
    now = time.time()
    if run.state == "queued":
        return f"number {position} in the queue of {run.device}" if position else "queued"
    took = elapsed(run, now)
    if run.active:
        return f"for {duration(took)} on {run.device}"
    return f"{ago(run.finished or run.created, now)}" + (f", took {duration(took)}" if took is not None else "")

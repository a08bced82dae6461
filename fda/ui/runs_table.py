"""The table of runs on Home: search, filters, groups and columns; what can be done with the selected runs; undo of deletion.

`st.dataframe` shows it and not `st.data_editor`, whose rows cannot be selected: names are edited in a dialog. A selection is a
set of row numbers, which means nothing once the list changes: the table then gets another key. Without a selection it keeps its
key, so that the browser does not build another table at each letter of a search.
"""

import time
from collections.abc import Sequence
from typing import Any

import streamlit as st

from fda.errors import UserError
from fda.escape import cells, markdown
from fda.jobs import lifecycle as jobs
from fda.jobs.gate import refusal
from fda.report.format import plural, size
from fda.report.runs_table import COLUMNS, GROUPS, RunRow, group_table, grouped, matching, run_rows, table
from fda.store.description import MOST_NAME, MOST_NOTE
from fda.store.records import ACTIVE, FINAL, Run
from fda.store.store import Store
from fda.ui import notices, pages, run_again
from fda.ui.actions import action_button
from fda.ui.identity import door
from fda.ui.runs import RESUMABLE, resume, stop, store

_HIDDEN = ("kind", "owner", "id")  # unless the visitor chooses them
UNDO_SHOWN = 10.0  # seconds that the line with Undo stays
# keys in the session
_DIALOG, _DELETED, _ROWS, _TABLE = "runs_dialog", "runs_deleted", "runs_rows", "runs_table"
_NO_GROUP = "none"


def forget_rows() -> None:
    """Call when the page runs: the rows are then read anew, with what has changed on the disk alone."""
    st.session_state.pop(_ROWS, None)


def show_table() -> None:
    """Controls, table and actions; a message where no run has been made yet."""
    with notices.noticed():
        rows = _rows(store())
        if not rows:
            notices.empty("No run has been made yet: run the demo above, or choose your own checkpoints on Construct.")
            return
        shown, by, columns = _controls(rows)
        if by is not None:
            groups = grouped(shown, by)
            shown = [row for group in groups.values() for row in group]
            st.dataframe(cells(group_table(groups, by)), hide_index=True, width="content", column_config=_formats())
        chosen = _table(shown, by, columns)
        _actions(chosen, len(shown), len(rows))


def _rows(known: Store) -> list[RunRow]:
    """The rows, kept from one filter to the next while no run changes or is active: an active one may end without a word."""
    versions = known.versions()
    if versions[2] or st.session_state.get(_ROWS, (None,))[0] != versions:
        st.session_state[_ROWS] = versions, run_rows(known)
    return st.session_state[_ROWS][1]


def show_dialog() -> None:
    """The open dialog, if there is one. It keeps the runs it was opened for, however the list changes meanwhile."""
    opened = st.session_state.get(_DIALOG)
    if opened is not None:
        name, run_ids = opened
        {"delete": _confirm_deletion, "edit": _edit}[name](run_ids)


def show_undo() -> None:
    """For ten seconds after a deletion: what was deleted, and a button that brings it back."""
    if _DELETED in st.session_state:
        st.fragment(_undo_line, run_every=1.0)()


def table_key(run_ids: Sequence[str]) -> str:
    """The key of the table that shows these runs in this order."""
    number, last = st.session_state.get(_TABLE, (0, []))
    selected = st.session_state.get(f"runs-{number}")
    if list(run_ids) != last and selected is not None and selected.selection.rows:
        number += 1
    st.session_state[_TABLE] = number, list(run_ids)
    return f"runs-{number}"


# controls and table --------------------------------------------------------------------------------------------------


def _controls(rows: Sequence[RunRow]) -> tuple[list[RunRow], str | None, list[str]]:
    """(the matching rows, what they are grouped by, the columns to show)."""
    tags = sorted({tag for row in rows for tag in row.run.tags} | set(st.query_params.get_all("tag")))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        search = st.text_input(
            "Search",
            key="search",
            bind="query-params",
            type="search",
            live="100ms",
            icon=":material/search:",
            width=220,
            placeholder="name, note, tag, zoo, setting",
        )
        states = st.multiselect(
            "State", [*ACTIVE, *FINAL], key="state", bind="query-params", placeholder="all", width=165
        )
        chosen_tags = st.multiselect("Tags", tags, key="tag", bind="query-params", placeholder="all", width=165)
        by = st.selectbox("Group by", [_NO_GROUP, *GROUPS], key="group", bind="query-params", width=130)
        with st.popover("Columns", icon=":material/view_column:"):
            columns = st.pills(
                "Columns",
                list(COLUMNS),
                selection_mode="multi",
                default=[name for name in COLUMNS if name not in _HIDDEN and (name != "started by" or door().guarded)],
                key="columns",
                bind="query-params",
                wrap=True,
            )
    shown = matching(rows, search=search or "", states=states, tags=chosen_tags)
    return shown, None if by == _NO_GROUP else by, list(columns)


def _table(rows: Sequence[RunRow], by: str | None, columns: Sequence[str]) -> list[Run]:
    """The table; the selected runs."""
    if not rows:
        notices.empty("No run matches: clear the search or a filter.")
        return []
    event = st.dataframe(
        cells(table(rows, by)),
        hide_index=True,
        column_order=[*([] if by is None else ["group"]), *(name for name in COLUMNS if name in columns)],
        column_config=_formats(),
        key=table_key([row.run.run_id for row in rows]),
        on_select="rerun",
        selection_mode="multi-row",
        height=min(36 * (len(rows) + 1) + 2, 470),
        placeholder="–",
        alt="Table of runs with their settings, losses and scores",
    )
    return [rows[index].run for index in event.selection.rows if index < len(rows)]


def _formats() -> dict[str, Any]:
    number = st.column_config.NumberColumn
    return {
        "run": st.column_config.TextColumn("run", pinned=True, width="medium"),
        "tags": st.column_config.ListColumn("tags", width="small"),
        "loss": number("loss", format="%.3f", help="mean final angle loss of the finished units"),
        "FDA": number("FDA", format="%.1f", help="best average over tasks of the methods that read anchors, in %"),
        "FDA − best": number(
            "FDA − best",
            format="%+.1f",
            help="that minus the best average of the methods that read checkpoints alone, in points",
        ),
        "individual": number(
            "individual", format="%.1f", help="average over tasks of the individual models, in %: what merging aims at"
        ),
        "differs": st.column_config.TextColumn(
            "differs", help="what differs from the preset fast and from the zoo's defaults"
        ),
        "duration": number("duration", format="localized"),
        "when": st.column_config.DatetimeColumn("when", format="distance"),
        "disk": number("disk", format="bytes"),
    }


# actions -------------------------------------------------------------------------------------------------------------


def _actions(chosen: Sequence[Run], shown: int, known: int) -> None:
    """What can be done with the selected runs, in a row below the table."""
    if not chosen:
        count = plural(known, "run") if shown == known else f"{shown} of {plural(known, 'run')}"
        st.caption(f"{count}. Select rows to open, compare, edit, repeat or delete runs.")
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="run-actions"):
        st.caption(markdown(", ".join(run.title for run in chosen[:3])) + (" …" if chosen[3:] else ""), width="content")
        if len(chosen) == 1:
            _one(chosen[0])
        else:
            query = {"runs": ",".join(run.run_id for run in chosen)}
            st.page_link(pages.RUNS, label="Compare", icon=":material/compare_arrows:", query_params=query)
        ended = tuple(run.run_id for run in chosen if not run.active)
        if ended:
            word = "Delete…" if len(ended) == len(chosen) == 1 else f"Delete {len(ended)}…"
            if action_button(
                word, "delete", _theirs(chosen), icon=":material/delete:", key="delete-selected", type="tertiary"
            ):
                _open("delete", ended)


def _theirs(chosen: Sequence[Run]) -> Run | None:
    """The first of them that the visitor may not delete; None if there is none."""
    return next((run for run in chosen if refusal("delete", run)), None)


def _one(run: Run) -> None:
    """Links and buttons of a single selected run."""
    _link("Open", ":material/monitoring:", run, "Landscape" if run.kind == "landscape" else "Units")
    if run.spec.methods:
        _link("Scores", ":material/leaderboard:", run, "Scores")
    if run.state in RESUMABLE:
        action_button(
            "Resume", "resume", run, key="resume-selected", on_click=resume, args=(run.run_id,), type="tertiary"
        )
    if run.state in ("queued", "running"):
        word = "Cancel" if run.state == "queued" else "Stop"
        action_button(word, "stop", run, key="stop-selected", on_click=stop, args=(run.run_id,), type="tertiary")
    if action_button("Edit…", "describe", run, icon=":material/edit:", key="edit-selected", type="tertiary"):
        _open("edit", (run.run_id,))
    why_not = run_again.refusal(run.spec)
    if st.button(
        "Run again with…",
        icon=":material/replay:",
        key="again",
        type="tertiary",
        disabled=why_not is not None,
        help=why_not,
    ):
        st.switch_page(pages.CONSTRUCT, query_params={"zoo": run_again.fill_form(run.spec)})


def _link(label: str, icon: str, run: Run, view: str) -> None:
    st.page_link(pages.RUN, label=label, icon=icon, query_params={"run": run.run_id, "view": view})


# dialogs -------------------------------------------------------------------------------------------------------------


def _open(name: str, run_ids: tuple[str, ...]) -> None:
    st.session_state[_DIALOG] = (name, run_ids)
    st.rerun()


def _close() -> None:
    st.session_state.pop(_DIALOG, None)


@st.dialog("Delete runs", icon=":material/delete:", on_dismiss=_close)
def _confirm_deletion(run_ids: Sequence[str]) -> None:
    known, lines, there = store(), [], []
    for run_id in run_ids:
        try:
            run = known.run(run_id)
        except UserError:
            lines.append(f"- `{run_id}` is deleted already")
            continue
        there.append(run)
        lines.append(f"- **{markdown(run.title)}** · {markdown(run.spec.zoo.name)} · `{run_id}`")
    st.markdown("\n".join(lines))
    rows = {row.run.run_id: row.bytes for row in run_rows(known)} if there else {}
    total = sum(rows.get(run.run_id, 0) for run in there)
    st.caption(f"Their anchors, merged models and numbers go too: {size(total)}.")
    with st.container(horizontal=True):
        if st.button(f"Delete {plural(len(there), 'run')}", type="primary", key="sure-delete", disabled=not there):
            _delete(there)
            _close()
            st.rerun()
        if st.button("Keep", key="keep"):
            _close()
            st.rerun()


@st.dialog("Name, note and tags", icon=":material/edit:", on_dismiss=_close)
def _edit(run_ids: Sequence[str]) -> None:
    run_id = run_ids[0]
    with notices.noticed():
        known = store()
        run = known.run(run_id)
        st.caption(f"Run `{run_id}` · {markdown(run.spec.zoo.name)}")
        name = st.text_input("Name", run.name or "", max_chars=MOST_NAME, key=f"name-{run_id}")
        note = st.text_area("Note", run.note or "", max_chars=MOST_NOTE, key=f"note-{run_id}")
        tags = st.text_input(
            "Tags", " ".join(run.tags), key=f"tags-{run_id}", help="short words, separated by blanks or commas"
        )
        if action_button("Save", "describe", run, type="primary", key="save-description"):
            words = tags.replace(",", " ").split()
            removed = [tag for tag in run.tags if tag not in words]
            jobs.describe(Store(), run_id, name=name, note=note, add_tags=words, remove_tags=removed)
            _close()
            st.rerun()


# deleting and undoing ------------------------------------------------------------------------------------------------


def _delete(runs: Sequence[Run]) -> None:
    deleted = []
    for run in runs:
        try:
            jobs.delete(Store(), run.run_id)
            deleted.append((run.run_id, run.title))
        except UserError as error:
            notices.keep_problem(str(error))
    if deleted:
        st.session_state[_DELETED] = (deleted, time.monotonic())


def _undo_line() -> None:
    deleted, moment = st.session_state.get(_DELETED, ((), 0.0))
    left = UNDO_SHOWN - (time.monotonic() - moment)
    if not deleted or left <= 0:
        st.session_state.pop(_DELETED, None)
        st.rerun()
    names = ", ".join(title for _, title in deleted[:5]) + (" …" if deleted[5:] else "")
    with st.container(horizontal=True, vertical_alignment="center", key="deleted-runs"):
        st.markdown(f"Deleted {plural(len(deleted), 'run')}: {markdown(names)}", width="content")
        if action_button("Undo", "undelete", icon=":material/undo:", key="undo", help="brings them back whole"):
            _undo([run_id for run_id, _ in deleted])
            st.rerun()
        st.caption(f"{left:.0f} s", width="content")


def _undo(run_ids: Sequence[str]) -> None:
    st.session_state.pop(_DELETED, None)
    for run_id in run_ids:
        try:
            jobs.undelete(Store(), run_id)
        except UserError as error:
            notices.keep_problem(str(error))

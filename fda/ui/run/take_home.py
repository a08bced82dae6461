"""Taking a merged model home from a run's scores: a method, a head, a folder that the library loads, a zip of a small one.

The work is a helper run (`fda.requests.exports`); this file has only the controls.
"""

import shlex
from collections.abc import Callable

import streamlit as st

from fda.errors import UserError
from fda.merging.registry import METHODS
from fda.report.comparison import Results
from fda.report.format import size
from fda.requests import exports
from fda.requests.exports import Export, export_at, export_folder, export_words, exportable
from fda.store.records import Run
from fda.store.store import Store
from fda.ui import notices
from fda.ui.actions import action_button, download_button
from fda.ui.runs import store

TICK = 1.0
MOST_ZIPPED = 100 * 2**20  # bytes: a download is held in the server's memory, which stays below 300 MB
NO_HEAD = "without a head"
PLACE = "my-merged-model"  # a folder and a repository's name in the commands

Choice = tuple[str, str, str | None]  # run, method, task whose head goes along


def heads(run: Run) -> list[str]:
    """The tasks whose head is in their checkpoint, so that it can go along; those of others lie beside every model."""
    return [task for task in run.spec.tasks if run.spec.zoo.task(task).head is None]


def best_first(names: list[str], results: Results) -> list[str]:
    """By average score: what one most likely wants is on top."""
    scored = [name for name in results.methods if name in names]
    return sorted(scored, key=results.scores.of, reverse=True)


def take_home_card(known: Store, run: Run, results: Results) -> None:
    """The expander; nothing where no merged model is there."""
    methods = best_first(exportable(known, run.run_id), results)
    if not methods:
        return
    with st.expander("Take a merged model home", icon=":material/luggage:", key="take_home"):
        st.caption(
            "A folder that transformers or open_clip loads by itself: weights, config, processor or tokenizer, and a model "
            "card with the settings and scores. What is not merged is the base's."
        )
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            method = st.selectbox(
                "Model",
                methods,
                format_func=lambda name: METHODS[name].title if name in METHODS else name,
                key="take",
                bind="query-params",
                width=260,
            )
            task = choose_head(run)
        choice = (run.run_id, method, task)
        state = export_at(known, export_folder(known, *choice))
        st.fragment(show, run_every=TICK if state.state == "running" else None)(choice, state.state)
        st.code(commands(*choice), language="bash", wrap_lines=True)


def choose_head(run: Run) -> str | None:
    """The task whose head goes along, or None. Asked only where checkpoints bring heads."""
    tasks = heads(run)
    if not tasks:
        return None
    return st.selectbox(
        "Head",
        tasks,
        index=None,
        key="head",
        bind="query-params",
        placeholder=NO_HEAD,
        help="Heads are not merged, each task has its own. Without one, the folder has what the base itself has.",
        width=200,
    )


def commands(run_id: str, method: str, task: str | None) -> str:
    """The same on the command line, and how it gets to the hub."""
    words = ["python", "-m", "fda", *export_words(run_id, method, task, PLACE)]
    pushed = [*words, "--push", f"ORG/{PLACE}", "--private"]
    return f"{shlex.join(words)}\n\n# and onto the hub\n{shlex.join(pushed)}"


def show(choice: Choice, before: str) -> None:
    """How far the chosen export is.

    `before`: its state when the page was made; at another the page is made anew, for that has another pace.
    """
    known = store()
    export = export_at(known, export_folder(known, *choice))
    if export.state != before:
        st.rerun()
    notices.show_kept()
    if export.state == "failed":
        notices.problem(f"the export failed: {export.message}")
    if export.state in ("none", "failed"):
        label = "Write the folder" if export.state == "none" else "Try again"
        action_button(
            label,
            "start",
            type="primary",
            icon=":material/save:",
            do=lambda: _noting(exports.start_export, choice),
            key="take_start",
        )
    elif export.state == "running":
        said = f"writing, {export.share:.0%}" if export.share else "opening the checkpoints"
        st.progress(export.share, said)
        action_button(
            "Stop",
            "stop",
            icon=":material/stop:",
            on_click=_noting,
            args=(exports.stop_export, choice),
            key="take_stop",
        )
    else:
        show_done(choice, export)


def show_done(choice: Choice, export: Export) -> None:
    st.success(
        f"Here it is, {size(export.bytes)}, on the machine that the dashboard runs on:", icon=":material/folder:"
    )
    st.code(str(export.folder), language=None, wrap_lines=True)
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        if export.bytes <= MOST_ZIPPED:
            download_button(
                "Download as zip",
                lambda: exports.zipped(export.folder),
                file_name=f"{export.folder.name}.zip",
                mime="application/zip",
                on_click="ignore",
                icon=":material/folder_zip:",
                key="take_zip",
            )
        with st.popover("Remove", type="tertiary", key="take_remove"):
            st.write("The folder goes; it can be written again while the run is there.")
            action_button(
                "Remove the folder", "delete", on_click=_noting, args=(exports.remove_export, choice), key="take_sure"
            )
    if export.bytes > MOST_ZIPPED:
        st.caption(f"Larger than {size(MOST_ZIPPED)}: copy it from there, or push it to the hub.")


def _noting(action: Callable[..., None], choice: Choice) -> None:
    """Do it, and keep what went wrong for the next time the card is drawn."""
    try:
        action(Store(), *choice)
    except UserError as error:
        notices.keep_problem(str(error))

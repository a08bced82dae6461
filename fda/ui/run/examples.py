"""The view Examples of a run: the test samples whose answers flip between two methods, and the classes each confuses.

The numbers are of `fda.report.examples`. Pictures and texts are those that the run keeps, at most 600 a task: the server reads
no data set, for that takes torch and unbounded time, and the files may have moved. Runs of older versions keep none; a helper
run then reads them once.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from fda.errors import UserError
from fda.escape import csv, markdown
from fda.figures.confusion import axis_names, confusion_alt, confusion_figure
from fda.report.comparison import titles
from fda.report.examples import (
    CHANGES,
    Change,
    Confusion,
    Pair,
    confusion,
    default_pair,
    examples_table,
    read_pair,
    scored_methods,
)
from fda.requests.helper_runs import examples_spec, newest_of, start_helper
from fda.store.examples import load_samples
from fda.store.records import Run
from fda.store.store import Store
from fda.ui import notices
from fda.ui.actions import action_button, download_button
from fda.ui.components import source
from fda.ui.page import theme
from fda.ui.plot import plot
from fda.ui.run.example_cards import cards
from fda.ui.runs import stop, store

PAGE = 24  # cards
TICK = 1.0
ALL = "all"
SHOWN: tuple[Change, ...] = ("became right", "became wrong", "both wrong")
AT, SHOW, CLASS = "ex_page", "ex_show", "ex_class"
SAID = {"before": "ex_said_before", "after": "ex_said_after"}


def examples_view(known: Store, run: Run) -> None:
    """The whole view, in the current container. Its choices are in the URL, under keys that begin with `ex_`."""
    st.html(f"<style>{source('examples.css')}</style>")
    st.fragment(_view)(known, run)


def _view(known: Store, run: Run) -> None:
    with notices.noticed():
        methods, usual = scored_methods(known, run), default_pair(known, run)
        if usual is None:
            notices.empty(
                "Examples compares the answers of two methods: they come as soon as two are scored."
                if run.active
                else "Examples compares the answers of two methods, and fewer than two are stored with this run."
            )
            return
        with st.container(horizontal=True, vertical_alignment="center", gap="small", key="ex-controls"):
            task, before, after = _choose_pair(run, methods, usual)
            pair = read_pair(known, run, task, before, after)
            change, label = _choose_samples(pair)
        gallery, matrix = st.columns([3, 2], gap="medium")
        with matrix:
            said = _matrices(pair, run, label)
        with gallery, notices.noticed():
            st.markdown(markdown(pair.sentence()))
            _gallery(known, run, pair, pair.indices(change, label, **said))


def _choose_pair(run: Run, methods: list[str], usual: tuple[str, str]) -> tuple[str, str, str]:
    """Task, and the two methods to compare."""
    task = st.selectbox("Task", run.spec.tasks, key="ex_task", bind="query-params", on_change=_first_page, width=170)
    names = titles(methods)
    chosen = [
        st.selectbox(
            word,
            methods,
            index=methods.index(method),
            format_func=names.__getitem__,
            key=f"ex_{word.lower()}",
            bind="query-params",
            on_change=_first_page,
            width=250,
        )
        for word, method in zip(("Before", "After"), usual, strict=True)
    ]
    return task, chosen[0], chosen[1]


def _choose_samples(pair: Pair) -> tuple[Change | None, int | None]:
    """The change and the true class to show; None: any."""
    change = st.selectbox("Show", [*SHOWN, ALL], key=SHOW, bind="query-params", on_change=_first_page, width=170)
    label = None
    if pair.classes:
        label = st.selectbox(
            "True class",
            pair.classes,
            index=None,
            format_func=pair.name,
            placeholder=ALL,
            key=CLASS,
            bind="query-params",
            on_change=_first_page,
            width=185,
        )
    return (change if change in CHANGES else None), label


def _gallery(known: Store, run: Run, pair: Pair, indices: np.ndarray) -> None:
    """A page of cards, those whose sample is kept first."""
    samples, damaged = None, None
    try:
        samples = load_samples(known.run_dir(run.run_id), pair.task)
    except UserError as error:
        damaged = str(error)
    if len(indices) == 0:
        notices.empty("No sample is like this: choose something else beside Show, True class or under a matrix.")
        return
    kept = np.isin(indices, [] if samples is None else samples.indices)
    indices = np.concatenate([indices[kept], indices[~kept]])
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="ex-pager"):
        page = _choose_page(len(indices))
        download_button(
            "CSV",
            lambda: csv(examples_table(pair, indices)),
            file_name=f"fda-{run.run_id}-examples-{pair.task}.csv",
            mime="text/csv",
            key="ex_csv",
            type="tertiary",
            on_click="ignore",
            icon=":material/table:",
            help=f"The {len(indices):,} samples shown, with both methods' answers",
        )
    if (lacking := pair.no_probabilities()) is not None:
        st.caption(markdown(lacking))
    if damaged is not None:
        notices.problem(damaged)
    elif samples is None:
        _without_samples(known, run)
    elif not kept.all():
        st.caption(f"{int(kept.sum()):,} of these {len(indices):,} samples are kept with the run and come first.")
    st.html(cards(pair, indices[PAGE * (page - 1) : PAGE * page], samples, theme()))


def _choose_page(count: int) -> int:
    """The page of cards, from 1."""
    pages = -(-count // PAGE)
    if st.session_state.get(AT, 1) > pages:
        st.session_state[AT] = pages
    return st.pagination(pages, key=AT, bind="query-params", width=240)


def _first_page() -> None:
    st.session_state[AT] = 1


def _matrices(pair: Pair, run: Run, label: int | None) -> dict[str, int | None]:
    """The confusion matrix of each of the two methods, whose cells can be clicked; the answer to show of each, None: any.

    `label`: the true class that is shown.
    """
    said: dict[str, int | None] = {}
    for word, title in zip(SAID, pair.titles, strict=True):
        matrix = confusion(pair, after=word == "after")
        if matrix is None:
            notices.empty(f"The answers to {pair.task} are generated texts, not classes: there is no confusion matrix.")
            return {}
        room = st.container()
        said[word] = st.selectbox(
            f"{title} says",
            np.unique((pair.after if word == "after" else pair.before).predicted).tolist(),
            index=None,
            format_func=pair.name,
            placeholder=ALL,
            key=SAID[word],
            bind="query-params",
            on_change=_first_page,
            help="Also by a click on a cell of the matrix",
        )
        whole = f"{title} on {pair.task}"
        chosen = [matrix.classes.index(one) if one in matrix.classes else None for one in (label, said[word])]
        figure = confusion_figure(
            matrix.names,
            matrix.counts,
            theme(),
            title=whole,
            chosen=(chosen[0], chosen[1]),
            uirevision=f"{run.run_id} {pair.task} {word}",
        )
        with room:
            plot(
                figure,
                key=f"examples-confusion-{word}",
                alt=confusion_alt(matrix.names, matrix.counts, whole),
                on_pick=partial(_pick_cell, word, matrix),
            )
    some = f"{len(matrix.classes)} of {matrix.of:,} classes, those with the most wrong answers. "
    st.caption(
        f"{some if len(matrix.classes) < matrix.of else ''}Number of samples; colour: share of the row, from dark "
        "(none) to bright (all)."
    )
    return said


def _pick_cell(word: str, matrix: Confusion, picked: Mapping[str, Any]) -> None:
    """Callback: show the samples of the cell that the reader clicked, or all if it is chosen already."""
    names = dict(zip(axis_names(matrix.names), matrix.classes, strict=True))
    row, column = names.get(str(picked.get("y"))), names.get(str(picked.get("x")))
    if row is None or column is None:
        return
    cell = {CLASS: row, SAID[word]: column}
    if all(st.session_state.get(key) == value for key, value in cell.items()):
        cell = dict.fromkeys(cell)
    else:
        st.session_state[SHOW] = ALL
    for key in (CLASS, *SAID.values()):
        st.session_state[key] = cell.get(key)
    _first_page()


def _without_samples(known: Store, run: Run) -> None:
    """For a run that keeps no samples: when they come, or how to get them."""
    if run.active:
        st.caption("The samples themselves appear once all methods are scored.")
        return
    helper = newest_of(known, examples_spec(run))
    if helper is not None and helper.active:
        st.fragment(_reading, run_every=TICK)(helper.run_id)
        return
    if helper is not None and helper.state in ("failed", "crashed"):
        notices.problem(f"the samples could not be read: {helper.message}")
    else:
        st.caption("This run keeps no samples to show: they can be read from its data once.")
    action_button(
        "Read the samples", "start", icon=":material/image_search:", key="ex_read", on_click=_read, args=(run,)
    )


def _reading(helper: str) -> None:
    if not store().run(helper).active:
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(":material/hourglass_top: Reading the samples …", width="content")
        action_button("Stop", "stop", type="tertiary", key="ex_stop", on_click=stop, args=(helper,))


def _read(run: Run) -> None:
    """Callback: start reading the samples of a run."""
    try:
        start_helper(Store(), examples_spec(run))
    except UserError as error:
        notices.keep_problem(str(error))

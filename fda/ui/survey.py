"""What is in a zoo's checkpoints, for pages: read by a helper run, so that torch stays out of the server and no page blocks.

Visitors who ask for the same files share a run.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import streamlit as st

from fda.errors import UserError
from fda.home import model_roots
from fda.jobs.gate import refusal
from fda.report.format import duration
from fda.requests.helper_runs import newest_of, preview_spec, result, start_helper, survey_spec
from fda.store.records import Run
from fda.store.spec import RunSpec
from fda.ui import notices
from fda.ui.actions import action_button
from fda.ui.runs import stop, store
from fda.zoos.hub import missing_models
from fda.zoos.zoo import Zoo, load_zoo, zoo_path

TICK = 1.0
KEPT_SECONDS = 300  # what the hub said may have changed since
AGAIN_SECONDS = 30  # until what failed is tried again by itself


class Reading(UserError):
    """The run `run_id` is reading the checkpoints."""

    def __init__(self, run_id: str) -> None:
        super().__init__("the checkpoints are being read: try again in a moment.")
        self.run_id = run_id


class ReadingStopped(UserError):
    """Somebody stopped the run that read the checkpoints."""

    def __init__(self, spec: RunSpec) -> None:
        super().__init__("reading the checkpoints was stopped.")
        self.spec = spec


def survey(reference: str) -> dict[str, Any]:
    """The survey of a zoo (a shipped name or a path below the model roots), kept until one of its files changes.

    Reading while a run is at work on it, which this starts. UserError if the zoo cannot be read or its checkpoints do not fit
    together.
    """
    zoo = read_zoo(reference)
    return _survey(survey_spec(zoo_path(reference), zoo).model_dump_json())


def preview(reference: str) -> dict[str, Any]:
    """What headers and configs alone say of a zoo, hub ids included (`fda.requests.preview.Preview`); downloads no weights.

    Reading as `survey`. UserError if the base cannot be seen; other problems are in the preview.
    """
    spec = preview_spec(zoo_path(reference), load_zoo(reference, roots=model_roots()))
    return _preview(spec.model_dump_json())


def read_zoo(reference: str) -> Zoo:
    """The zoo file alone, validated. UserError as `load_zoo`, or if models are still on the hub."""
    zoo = load_zoo(reference, roots=model_roots())
    if missing := missing_models(zoo):
        raise UserError(
            f"zoo {zoo.name}: {len(missing)} of its models are on the hub and not on this machine yet ({missing[0]} …): "
            f"download them on the page Checkpoints, or run `python -m fda zoo check {reference}` once."
        )
    return zoo


@contextmanager
def awaited(doing: str) -> Iterator[None]:
    """If the block raises Reading, show the state of that run and end the page, which is made anew when the run has ended."""
    try:
        yield
    except Reading as reading:
        st.fragment(_show, run_every=TICK)(reading.run_id, doing)
        st.stop()
    except ReadingStopped as stopped:
        notices.empty(str(stopped))
        action_button(
            "Read them", "start", icon=":material/refresh:", on_click=_again, args=(stopped.spec,), key="read_again"
        )
        st.stop()


def _show(run_id: str, doing: str) -> None:
    known = store()
    run = known.run(run_id)
    if not run.active:
        st.rerun()
    position = known.queue_position(run_id) if run.state == "queued" else None
    queued = f", number {position} in the queue" if position is not None and position > 1 else ""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(
            f":material/hourglass_top: {doing}, for {duration(time.time() - run.created)}{queued} …", width="content"
        )
        action_button(
            "Stop",
            "stop",
            run,
            type="tertiary",
            on_click=stop,
            args=(run_id,),
            disabled=run.state == "stopping",
            key="read_stop",
        )


def _again(spec: RunSpec) -> None:
    """Callback: start reading again."""
    try:
        start_helper(store(), spec)
    except UserError as error:
        notices.keep_problem(str(error))


@st.cache_data(max_entries=16, show_spinner=False)
def _survey(spec: str) -> dict[str, Any]:
    return answer(RunSpec.model_validate_json(spec))


@st.cache_data(max_entries=16, ttl=KEPT_SECONDS, show_spinner=False)
def _preview(spec: str) -> dict[str, Any]:
    return answer(RunSpec.model_validate_json(spec), kept=KEPT_SECONDS)


def answer(spec: RunSpec, *, kept: float = float("inf")) -> dict[str, Any]:
    """What the newest run of this spec found, if that was less than `kept` seconds ago; else a run is started.

    Reading while it is at work; UserError with its message if it failed.
    """
    known = store()
    run = newest_of(known, spec)
    if run is not None and run.active:
        raise Reading(run.run_id)
    if run is None or _is_outdated(run, kept):
        if why_not := refusal("start"):
            raise UserError(f"nobody has read these checkpoints yet, and {why_not}")
        raise Reading(start_helper(known, spec))
    if run.state == "cancelled":
        raise ReadingStopped(spec)
    if run.state != "done":
        raise UserError(run.message or "reading the checkpoints failed.")
    return result(known, run.run_id)


def _is_outdated(run: Run, kept: float) -> bool:
    age = time.time() - (run.finished or run.created)
    return age > kept if run.state == "done" else run.state in ("failed", "crashed") and age > AGAIN_SECONDS

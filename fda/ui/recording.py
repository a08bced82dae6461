"""A recording that plays: loss curves, the path through the landscape and the scores, over twenty seconds in the browser.

It draws SVG and waits for neither plotly.js nor the server. `fda.report.replay` prepares what it draws.
"""

import json
from functools import cache
from pathlib import Path

import streamlit as st

from fda.figures.theme import Theme
from fda.home import ASSETS
from fda.report.recording import Recording, read_recording
from fda.report.replay import replay, when_and_where
from fda.store.records import Run
from fda.store.store import Store
from fda.ui.components import component
from fda.ui.page import theme

DEMO = ASSETS / "recordings" / "demo.json"

_recording = component("recording", styles=("slider", "recording"), isolate_styles=False)


@cache
def demo() -> Recording:
    """The recorded demo that is part of the package. UserError if its file is damaged."""
    return read_recording(DEMO)


def recording_of(run: Run, known: Store) -> Recording:
    """The recording of a finished run, cached until the run or its landscape changes. UserError as `fda.report.record`."""
    from fda.report.record import newest_landscape  # here and below: Home, which opens first, needs none of it

    plane = newest_landscape(known, run)
    versions = tuple(known.version(one.run_id) for one in (run, plane) if one is not None)
    return _recorded(known.home, run.run_id, (plane and plane.run_id, *versions))


def play(recording: Recording, *, title: str | None = None, label: str | None = None, key: str = "recording") -> None:
    """Play a recording as soon as it is shown. `title`: instead of the run's; `label`: where and when it was made."""
    words = {"title": title or recording.title, "label": label or f"Run of {when_and_where(recording)}"}
    _recording(key=key, data={"scene": _scene(recording, theme()), **words})


@st.cache_resource(max_entries=16, show_spinner=False)
def _recorded(home: Path, run_id: str, versions: tuple) -> Recording:
    from fda.report.record import record

    known = Store(home)
    return record(known, known.run(run_id))


@st.cache_resource(max_entries=16, show_spinner=False, hash_funcs={Recording: lambda one: one.model_dump_json()})
def _scene(recording: Recording, colours: Theme) -> str:
    return json.dumps(replay(recording, colours), separators=(",", ":"))

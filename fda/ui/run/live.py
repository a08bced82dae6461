"""The run's state and progress in the bar, and its figures, kept up to date each second by the ticker."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from secrets import token_hex
from threading import Lock
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from fda.report import live
from fda.store.records import Run, Unit
from fda.store.store import Store
from fda.ui.clock import Clock
from fda.ui.feed import BEGIN_ANEW, Feed, offer
from fda.ui.page import theme
from fda.ui.runs import BADGES, store
from fda.ui.ticker import ticker, ticker_update

FRESH = (
    0.5  # seconds: half of what passes between two questions of one page, so that a page alone always sees what is new
)
MOST_SHARED = 32  # pictures, of some 100 KB


def show_ticker(known: Store, run: Run, into: DeltaGenerator, view: live.UnitsView | None = None) -> live.Picture:
    """Show the run's state and progress in the container `into`, and return its figures in this view, by default none.

    While the run is active, the ticker renews both each second. UserError if the run is deleted.
    """
    view = view or live.UnitsView((), (), 0.0, None, theme(), figures=())
    if run.active:
        picture = _shared_picture(known, run, view)
    else:
        picture = live.picture(known, run, view, st.session_state.get("picture"))
    st.session_state["picture"] = picture
    seen = token_hex(4)
    address = offer(_updates(known, run, picture, view, seen), "run") if run.active else None
    with into:
        ticker(_update_of(known, run, picture.units, {}, seen), address, key="run-ticker")
    return picture


def figure_key(name: str) -> str:
    """The key of `plot` under which the ticker finds the figure `name` of `fda.measures`."""
    return f"run-{name}"


def _update_of(known: Store, run: Run, units: list[Unit], figures: Mapping[str, str], seen: str) -> dict[str, Any]:
    """The ticker's update: the run's status, and new figures by name."""
    clock = Clock(known, run, units, time.time())
    return ticker_update(
        (run.state, BADGES[run.state][1]),
        clock.status,
        clock.progress,
        {figure_key(name): figure for name, figure in figures.items()},
        seen,
        clock.tab_title,
    )


def _updates(known: Store, run: Run, shown: live.Picture, view: live.UnitsView, seen: str) -> Feed:
    """A feed of what has changed since the picture that the browser saw last, at first `shown`; of all if it saw another.

    The page's script runs again if the state, the place in the queue, the set of figures, or the units to choose from have
    changed.
    """
    position = _queue_position(known, run)
    last, number = shown, seen

    def update(seen: str) -> dict[str, Any]:
        nonlocal last, number
        known = store()
        now = known.run(run.run_id)
        picture = _shared_picture(known, now, view)
        seen_now = (now.state, _queue_position(known, now), set(picture.figures), _begun(picture.units))
        if seen_now != (run.state, position, set(shown.figures), _begun(shown.units)):
            return BEGIN_ANEW
        figures = picture.changed(last) if seen == number else picture.figures
        last, number = picture, token_hex(4)
        return _update_of(known, now, picture.units, figures, number)

    return update


@dataclass
class _Shared:
    lock: Lock = field(default_factory=Lock)
    picture: live.Picture | None = None
    made: float = -math.inf  # by the monotonic clock


@lru_cache(maxsize=MOST_SHARED)
def _shared(home: Path, run_id: str, view: live.UnitsView) -> _Shared:
    return _Shared()


def _shared_picture(known: Store, run: Run, view: live.UnitsView) -> live.Picture:
    """The picture of a run at work, which visitors with the same view share while it is less than FRESH seconds old."""
    shared = _shared(known.home, run.run_id, view)
    with shared.lock:
        if shared.picture is None or time.monotonic() - shared.made >= FRESH:
            shared.picture = live.picture(known, run, view, shared.picture)
            shared.made = time.monotonic()
        return shared.picture


def _queue_position(known: Store, run: Run) -> int | None:
    """The run's number in its queue; None if it is not queued."""
    return known.queue_position(run.run_id) if run.state == "queued" else None


def _begun(units: list[Unit]) -> int:
    """The number of units to choose from."""
    return sum(unit.key.stage == "construct" for unit in units)

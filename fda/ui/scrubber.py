"""Figures that follow sliders inside the browser: dragging and playing need no server.

The server sends figures with their changes at every position (`fda/figures/scrub.py`), numbers for every position, and
optional cards (images or texts). The browser reports a position when the reader lets go, so that the URL can hold it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from fda.figures.scrub import Scrubbed
from fda.figures.theme import CONFIG, to_json
from fda.ui.components import component

_scrubber = component("scrubber", styles=("slider", "scrubber"), isolate_styles=False)


@dataclass(frozen=True)
class Dial:
    """A slider. `choices`: unique names of its positions; `hint`: a line below it; `plays`: whether it has a play button."""

    label: str
    choices: tuple[str, ...]
    hint: str
    plays: bool = False


@dataclass(frozen=True)
class Readings:
    """A table of numbers that follows a dial: `cells[position][row][column]`."""

    dial: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    cells: list[list[list[str]]]


@dataclass(frozen=True)
class Sheet:
    """A grid of equally large images in one file, row by row; `shown`: pixels of the longer side on the page."""

    source: str
    columns: int
    rows: int
    width: int
    height: int
    shown: int = 88


@dataclass(frozen=True)
class Cards:
    """Samples that follow a dial: `sets[position]` lists (index, caption) into `sheet` or `texts`. `names`: of all samples."""

    dial: str
    sets: list[list[tuple[int, str]]]
    names: list[str]
    sheet: Sheet | None = None
    texts: list[str] | None = None


@dataclass(frozen=True)
class Points:
    """What pointing at trace `uid` does: its n-th point sets `dial` to n, or shows the n-th sample."""

    uid: str
    dial: str | None = None
    card: bool = False


def scrubber_spec(
    dials: Mapping[str, Dial],
    figures: Mapping[str, tuple[Scrubbed, str]],
    *,
    readings: Readings | None = None,
    cards: Cards | None = None,
    points: Sequence[Points] = (),
) -> str:
    """The contents of `scrubber` as JSON, worth caching. `figures`: name → (figure, alternative text)."""
    drawn = []
    for name, (scrubbed, alt) in figures.items():
        spec = json.loads(to_json(scrubbed.figure))
        moves = [vars(move) for move in scrubbed.moves]
        drawn.append(
            {"name": name, "alt": alt, "figure": {"data": spec["data"], "layout": spec["layout"]}, "moves": moves}
        )
    content: dict[str, Any] = {
        "dials": {name: vars(dial) for name, dial in dials.items()},
        "figures": drawn,
        "readings": readings and vars(readings),
        "cards": cards and vars(cards) | {"sheet": cards.sheet and vars(cards.sheet)},
        "points": {target.uid: {"dial": target.dial, "card": target.card} for target in points},
        "config": CONFIG,
    }
    return json.dumps(content, separators=(",", ":"))


def scrubber(spec: str, at: Mapping[str, int], *, key: str, on_settle: Callable[[dict[str, int]], None]) -> None:
    """Show a `scrubber_spec` at positions `at`; callback `on_settle` gets the positions at which the reader lets go."""

    def settled() -> None:
        released = st.session_state[key].settled
        if isinstance(released, dict):  # not guaranteed: it comes from a browser
            on_settle({str(name): int(at) for name, at in released.items() if isinstance(at, int | float)})

    _scrubber(key=key, data={"spec": spec, "at": dict(at)}, on_settled_change=settled)

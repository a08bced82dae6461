"""Figures that move along dials without being drawn anew: what changes, and to what, at every position of a dial.

A browser applies the moves (`fda/ui/scrubber.py`), and so does `Scrubbed.at`, for files and tests. Knows no particular figure.
"""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import plotly.graph_objects as go

DIGITS = 5  # significant: a pixel is one part in a thousand


@dataclass(frozen=True)
class Move:
    """`path` (such as `data[2].y` or `layout.shapes[0].x0`) is `values[position]` while `dial` is at that position."""

    dial: str
    path: str
    values: list[Any]


@dataclass(eq=False)
class Scrubbed:
    """A figure and its moves. No path follows two dials."""

    figure: go.Figure
    moves: list[Move] = field(default_factory=list)

    def move_trace(self, dial: str, uid: str, **values: Sequence[Any]) -> None:
        """The attributes of the trace called `uid` follow `dial`; a double underscore in a name goes one level down."""
        index = next(place for place, trace in enumerate(self.figure.data) if trace.uid == uid)
        for name, course in values.items():
            self.moves.append(Move(dial, f"data[{index}].{name.replace('__', '.')}", [compact(one) for one in course]))

    def move_layout(self, dial: str, path: str, values: Sequence[Any]) -> None:
        """`path` below the layout, such as `shapes[0].x0`, follows `dial`."""
        self.moves.append(Move(dial, f"layout.{path}", [compact(one) for one in values]))

    def at(self, positions: Mapping[str, int]) -> go.Figure:
        """The figure as it is drawn at these positions (dial → position; 0 for a dial that is not named)."""
        spec = deepcopy(self.figure.to_plotly_json())
        for move in self.moves:
            _put(spec, move.path, move.values[positions.get(move.dial, 0)])
        return go.Figure(spec)


def compact(value: Any) -> Any:
    """Plain data with numbers of `DIGITS` digits; a NaN is None, a gap."""
    if isinstance(value, np.ndarray):
        return compact(value.tolist())
    if isinstance(value, list | tuple):
        return [compact(one) for one in value]
    if isinstance(value, float | np.floating):
        return None if not np.isfinite(value) else float(f"{value:.{DIGITS}g}")
    return value.item() if isinstance(value, np.generic) else value


def _put(spec: dict, path: str, value: Any) -> None:
    *way, last = (int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", path))
    place: Any = spec
    for part in way:
        if isinstance(place, dict) and part not in place:
            place[part] = {}
        place = place[part]
    place[last] = value

"""Figures that follow dials without being redrawn: which attributes change, and to what, at every position of a dial.

The browser applies the moves (`fda/ui/scrubber.py`); `Scrubbed.at` does for files and tests. Knows no particular figure.
"""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import plotly.graph_objects as go

DIGITS = 5  # significant digits: a pixel is one part in a thousand


@dataclass(frozen=True)
class Move:
    """Sets `path` (such as `data[2].y` or `layout.shapes[0].x0`) to `values[position]` when `dial` is at that position."""

    dial: str
    path: str
    values: list[Any]


@dataclass(eq=False)
class Scrubbed:
    """A figure and its moves. No path follows two dials."""

    figure: go.Figure
    moves: list[Move] = field(default_factory=list)

    def move_trace(self, dial: str, uid: str, **values: Sequence[Any] | np.ndarray) -> None:
        """Let attributes of trace `uid` follow `dial`; a double underscore in a name goes one level down."""
        traces = cast(Sequence[Any], self.figure.data)  # plotly does not annotate it
        index = next(number for number, trace in enumerate(traces) if trace.uid == uid)
        for name, course in values.items():
            self.moves.append(
                Move(dial, f"data[{index}].{name.replace('__', '.')}", [compact(value) for value in course])
            )

    def move_layout(self, dial: str, path: str, values: Sequence[Any] | np.ndarray) -> None:
        """Let `path` below the layout, such as `shapes[0].x0`, follow `dial`."""
        self.moves.append(Move(dial, f"layout.{path}", [compact(value) for value in values]))

    def at(self, positions: Mapping[str, int]) -> go.Figure:
        """The figure at these positions (dial → position; 0 for dials left out)."""
        spec = deepcopy(self.figure.to_plotly_json())
        for move in self.moves:
            _put(spec, move.path, move.values[positions.get(move.dial, 0)])
        return go.Figure(spec)


def compact(value: Any) -> Any:
    """`value` as plain data, with numbers of `DIGITS` digits; a NaN becomes None, a gap."""
    if isinstance(value, np.ndarray):
        return compact(value.tolist())
    if isinstance(value, list | tuple):
        return [compact(item) for item in value]
    if isinstance(value, float | np.floating):
        return None if not np.isfinite(value) else float(f"{value:.{DIGITS}g}")
    return value.item() if isinstance(value, np.generic) else value


def _put(spec: dict, path: str, value: Any) -> None:
    *parents, last = (int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", path))
    node: Any = spec
    for part in parents:
        if isinstance(node, dict) and part not in node:
            node[part] = {}
        node = node[part]
    node[last] = value

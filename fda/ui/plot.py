"""Plotly figures that update in place: `st.plotly_chart` remounts at each change and loses zoom and hidden curves.

Two components: one loads plotly.js from the installed wheel once per page load, the other calls `Plotly.react`.
Zoom and hidden curves survive while a figure's `uirevision` stays the same.
"""

from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import plotly.graph_objects as go
import streamlit as st
from streamlit.components.v1 import declare_component

from fda.figures.theme import CONFIG, to_json
from fda.ui.components import component
from fda.ui.feed import address

_loader = component("plotly_loader", html=False, scripts=("plotly_arrays",), isolate_styles=False)
_figure = component("figure", isolate_styles=False)


def load_plotly() -> None:
    """Load plotly.js; the frame calls this once."""
    _loader(key="plotly-js", data={"src": _library()}, on_theme_change=lambda: None)


@cache
def _library() -> str:
    """The URL path of plotly.js. Declaring a component, which is never shown, makes the server serve the wheel's folder."""
    name = declare_component("plotly", path=str(files("plotly") / "package_data")).name
    return address(f"/component/{name}/plotly.min.js?{version('plotly')}")


def plot(
    figure: go.Figure | str,
    *,
    key: str,
    alt: str,
    fill: float = 0,
    most: int | None = None,
    on_pick: Callable[[Mapping[str, Any]], None] | None = None,
) -> None:
    """Show a figure, or its JSON (see `to_json`), at full width. `key` identifies it over updates.

    `alt` is the alternative text; `fill`, the share of the window's height that the figure takes at least on a wide screen;
    `most`, the pixels that it is high at most on a narrow one.
    The callback `on_pick` gets x, y and the trace's uid of a point that the reader clicks, as the browser sends them.
    """
    spec = figure if isinstance(figure, str) else to_json(figure)
    image = {"toImageButtonOptions": {"format": "png", "scale": 2, "filename": key}}
    data = {
        "key": key,
        "figure": spec,
        "alt": alt,
        "fill": fill,
        "most": most,
        "config": CONFIG | image,
        "picks": on_pick is not None,
    }

    def picked() -> None:
        point = st.session_state[key].picked
        if on_pick is not None and isinstance(point, Mapping):
            on_pick(point)

    _figure(key=key, data=data, on_picked_change=picked)

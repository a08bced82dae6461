"""Plotly figures that update in place: `st.plotly_chart` remounts at each change and loses zoom and hidden curves.

Two components: one loads plotly.js from the installed wheel once per page load, the other calls `Plotly.react`.
Zoom and hidden curves survive while a figure's `uirevision` stays the same.
"""

from functools import cache
from importlib.metadata import version
from importlib.resources import files

import plotly.graph_objects as go
from streamlit.components.v1 import declare_component

from fda.figures.theme import CONFIG, to_json
from fda.ui.components import component
from fda.ui.feed import address

_loader = component("plotly_loader", html=False, scripts=("plotly_arrays",), isolate_styles=False)
_figure = component("figure", isolate_styles=False)


def load_plotly() -> None:
    """Load plotly.js; the frame calls this once."""
    _loader(key="plotly-js", data={"src": _library()})


@cache
def _library() -> str:
    """The URL path of plotly.js. Declaring a component, which is never shown, makes the server serve the wheel's folder."""
    name = declare_component("plotly", path=str(files("plotly") / "package_data")).name
    return address(f"/component/{name}/plotly.min.js?{version('plotly')}")


def plot(figure: go.Figure | str, *, key: str, alt: str, fill: float = 0) -> None:
    """Show a figure, or its JSON (see `to_json`), at full width. `key` identifies it over updates.

    `alt` is the alternative text; `fill`, the share of the window's height that the figure takes at least on a wide screen.
    """
    spec = figure if isinstance(figure, str) else to_json(figure)
    image = {"toImageButtonOptions": {"format": "png", "scale": 2, "filename": key}}
    _figure(key=key, data={"key": key, "figure": spec, "alt": alt, "fill": fill, "config": CONFIG | image})

"""A Plotly chart that is redrawn in place: zoom and hidden curves survive each update.

`st.plotly_chart` mounts its chart anew at every change of data. Here one component loads plotly.js from the installed
package once a page load, and a second one hands each new figure to `Plotly.react`.
"""

from functools import cache
from pathlib import Path
from typing import Any

import plotly
import plotly.graph_objects as go
import streamlit as st

from fda.figures.export import to_json

CONFIG = {"responsive": True, "displaylogo": False, "showSendToCloud": False, "scrollZoom": False}

_LOADER = """
export default function () {{
  if (window.Plotly || window.fdaPlotlyLoading) return;
  window.fdaPlotlyLoading = true;
  (function (module, exports, define) {{
{library}
  }}).call(window, undefined, undefined, undefined);
  window.dispatchEvent(new Event("fda-plotly"));
}}
"""

_CHART = """
export default function ({ data, parentElement }) {
  const chart = parentElement.querySelector(".fda-chart");
  chart.style.minHeight = data.height + "px";
  chart.setAttribute("aria-label", data.alt);
  chart.latest = data;
  chart.draw = () => {
    if (!window.Plotly || !chart.isConnected) return;
    const { figure, config } = chart.latest;
    const { data: traces, layout } = JSON.parse(figure);
    window.Plotly.react(chart, traces, layout, config);
  };
  if (window.Plotly) chart.draw();
  else window.addEventListener("fda-plotly", chart.draw, { once: true });
  return () => {
    window.removeEventListener("fda-plotly", chart.draw);
    if (window.Plotly) window.Plotly.purge(chart);
  };
}
"""


@cache
def _components() -> tuple[Any, Any]:
    library = (Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_text(encoding="utf-8")
    loader = st.components.v2.component("fda_plotly", html="<span></span>", js=_LOADER.format(library=library))
    chart = st.components.v2.component(
        "fda_chart", html='<div class="fda-chart" role="img"></div>', css=".fda-chart { width: 100%; }", js=_CHART,
        isolate_styles=False,
    )  # fmt: skip
    return loader, chart


def load_plotly() -> None:
    """Call once on a page that has live charts, outside the part that is redrawn."""
    _components()[0](key="fda_plotly", height=1)


def live_chart(figure: go.Figure, key: str, *, alt: str, keep: str = "") -> None:
    """Draw or redraw a figure in place. `keep`: zoom and hidden curves are kept as long as it stays the same."""
    figure.update_layout(uirevision=keep or key)
    height = int(figure.layout.height or 420)
    _components()[1](
        key=key, height="content", data={"figure": to_json(figure), "config": CONFIG, "height": height, "alt": alt}
    )

"""Plotly figures that update in place. `st.plotly_chart` remounts at each change and loses zoom and hidden curves.

Two components: one has the browser fetch plotly.js, of the installed wheel, once a page load; the other calls `Plotly.react`.
Figures keep what the reader did to them while their `uirevision` stays the same.
"""

from functools import cache
from importlib.metadata import version
from importlib.resources import files

import plotly.graph_objects as go
import streamlit as st
from streamlit.components.v1 import declare_component

from fda.figures.look import CONFIG, to_json
from fda.ui.address import address

READY = "fda-plotly-ready"

# At each draw plotly.js looks up every attribute that a trace might have, for those that are arrays now: more than half a
# millisecond a curve. What it finds depends on which fields of the curve hold arrays: it is asked once for each set of them.
REMEMBER_ARRAYS = r"""
function rememberArrays(schema) {
  const find = schema.findArrayAttributes;
  const known = new Map();
  const arrays = (part, path) =>
    Object.entries(part).flatMap(([name, value]) => {
      if (name.startsWith("_")) return [];
      if (Array.isArray(value) || ArrayBuffer.isView(value)) return [path + name];
      return value?.constructor === Object ? arrays(value, path + name + ".") : [];
    });
  schema.findArrayAttributes = (trace) => {
    if (trace.type !== "scatter") return find(trace);  // others may hold arrays of objects with arrays in them
    const held = arrays(trace, "").join();
    if (!known.has(held)) known.set(held, find(trace));
    return known.get(held);
  };
}
"""

# A file that the browser fetches while the page is made: as a part of the page's messages it would come a second later.
_LOADER = r"""
const ID = "fda-plotly";

export default function ({ data }) {
  if (window.Plotly || document.getElementById(ID)) return;
  const script = document.createElement("script");
  script.id = ID;
  script.src = data.src;
  script.onload = () => {
    rememberArrays(window.Plotly.PlotSchema);
    window.dispatchEvent(new Event("%s"));
  };
  script.onerror = () => script.remove();
  document.head.append(script);
}
"""

# One object for ever: plotly.js draws anew, and forgets the zoom, when a function in the config is another one.
SVG_BUTTON = r"""
let svg = null;
function svgButton() {
  return (svg ??= {
    name: "toSvg",
    title: "Download plot as an SVG",
    icon: window.Plotly.Icons.disk,
    click: (figure) =>
      window.Plotly.downloadImage(figure, { format: "svg", filename: figure._context.toImageButtonOptions.filename }),
  });
}
"""

# Runs at each change of data. The newest figure wins; none is drawn while the tab is hidden (no animation frames
# there), while plotly.js is not there yet, or while the reader drags on the chart. Out of sight a figure is drawn when the
# browser has nothing else to do, so that another page need not wait for it; and not anew until it is scrolled to, which on
# Watch saves most of an update's work in the browser.
_REACT = r"""
const states = new WeakMap();
const places = (window.fdaFigures ??= new Map());  // by key, for `fda.ui.ticker`

const queue = [];
const atLeisure = window.requestIdleCallback ?? ((then) => setTimeout(then, 100));

// A figure a frame, so that the first is seen while the next are drawn.
function drawNext() {
  const state = queue.shift();
  if (queue.length) requestAnimationFrame(drawNext);
  draw(state);
}

function draw(state) {
  state.asked = false;
  if (!state.next || !state.root.isConnected) return;
  if (!window.Plotly) {
    window.addEventListener("%s", () => ask(state), { once: true });
    return;
  }
  if (state.root._dragging) {
    setTimeout(() => ask(state), 150);
    return;
  }
  if (state.root._fullLayout && !state.seen) return;  // drawn when it is scrolled to
  const { data, layout, config } = state.next;
  state.next = null;
  if (window.matchMedia("(pointer: coarse)").matches) layout.dragmode = false;
  config.modeBarButtonsToAdd = [svgButton()];
  window.Plotly.react(state.root, data, layout, config);
}

function ask(state) {
  if (state.asked) return;
  state.asked = true;
  if (queue.push(state) === 1) requestAnimationFrame(drawNext);
}

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".fda-figure");
  let state = states.get(root);
  if (!state) {
    state = { root, shown: null, next: null, asked: false, seen: false };
    state.observer = new ResizeObserver(() => {
      if (root._fullLayout && window.Plotly && root.offsetWidth) window.Plotly.Plots.resize(root);
    });
    state.observer.observe(root);
    state.sight = new IntersectionObserver((entries) => {
      state.seen = entries.at(-1).isIntersecting;
      if (!state.next) return;
      if (state.seen) ask(state);
      else if (!root._fullLayout) atLeisure(() => ask(state));
    });
    state.sight.observe(root);
    states.set(root, state);
  }
  root.setAttribute("aria-label", data.alt);
  state.show = (figure) => {
    if (figure === state.shown) return;
    state.shown = figure;
    state.next = { ...JSON.parse(figure), config: data.config };
    for (const trace of state.next.data) {  // plotly.js makes a CSS selector of each uid, where a blank would be an error
      trace.uid = trace.uid?.replace(/[^\w-]/g, (letter) => "_" + letter.charCodeAt(0));
    }
    root.style.height = state.next.layout.height + "px";
    if (state.seen) ask(state);  // the others when it is known that they are in sight, or that they are not
  };
  if (data.figure !== state.given) state.show((state.given = data.figure));
  places.set(data.place, state);
  return () => {
    if (places.get(data.place) === state) places.delete(data.place);
    state.observer.disconnect();
    state.sight.disconnect();
    state.next = null;
    if (window.Plotly && root._fullLayout) window.Plotly.purge(root);
    states.delete(root);
  };
}
"""

_loader = st.components.v2.component("fda.plotly", js=REMEMBER_ARRAYS + _LOADER % READY, isolate_styles=False)
_figure = st.components.v2.component(
    "fda.figure",
    html='<div class="fda-figure" role="figure" style="width: 100%"></div>\n',
    js=SVG_BUTTON + _REACT % READY,
    isolate_styles=False,
)


def load_plotly() -> None:
    """Once in the frame, first of all."""
    _loader(key="plotly-js", data={"src": _library()})


@cache
def _library() -> str:
    """The address of plotly.js: a component that is never shown has the server give out the wheel's folder of it."""
    name = declare_component("plotly", path=str(files("plotly") / "package_data")).name
    return address(f"/component/{name}/plotly.min.js?{version('plotly')}")


def plot(figure: go.Figure | str, *, key: str, alt: str) -> None:
    """Show a figure (or its JSON, see `to_json`), filling the width; `key` is its identity over updates.

    `alt` says what it shows to who cannot see it.
    """
    spec = figure if isinstance(figure, str) else to_json(figure)
    image = {"toImageButtonOptions": {"format": "png", "scale": 2, "filename": key}}
    _figure(key=key, data={"place": key, "figure": spec, "alt": alt, "config": CONFIG | image})

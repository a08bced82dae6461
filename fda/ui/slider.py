"""A slider that answers while it is dragged: `st.slider` tells its value only when it is let go.

It holds no state. The page gives the value and is told of another; the next value is sent when the last has been answered, so
that dragging fast skips values but never interrupts a figure on its way.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import streamlit as st

# The track is drawn here: browsers would draw theirs white in a dark page. `--fill` is how far the thumb has come.
CSS = """
.fda-slider { --thumb: 14px; --on: var(--st-primary-color); --off: var(--st-border-color);
  font-family: var(--st-font); color: var(--st-text-color); font-size: 0.875rem; line-height: 1.4; }
.fda-slider label { display: flex; justify-content: space-between; gap: 0.5rem; }
.fda-slider output { color: var(--on); font-variant-numeric: tabular-nums; font-weight: 600; }
.fda-slider small { display: block; font-size: 0.75rem; line-height: 1.2; opacity: 0.7; }
.fda-slider input { appearance: none; background: none; width: 100%; height: 1.5rem; margin: 0; cursor: pointer;
  touch-action: pan-y; }
.fda-slider input:disabled { cursor: not-allowed; opacity: 0.4; }
.fda-slider input:focus-visible { outline: 2px solid var(--on); outline-offset: 1px; border-radius: 4px; }
.fda-slider input::-webkit-slider-runnable-track { height: 4px; border-radius: 2px;
  background: linear-gradient(to right, var(--on) var(--fill), var(--off) var(--fill)); }
.fda-slider input::-webkit-slider-thumb { appearance: none; width: var(--thumb); height: var(--thumb);
  margin-top: calc(2px - var(--thumb) / 2); border-radius: 50%; background: var(--on); }
.fda-slider input::-moz-range-track { height: 4px; border-radius: 2px; background: var(--off); }
.fda-slider input::-moz-range-progress { height: 4px; border-radius: 2px; background: var(--on); }
.fda-slider input::-moz-range-thumb { width: var(--thumb); height: var(--thumb); border: 0; border-radius: 50%;
  background: var(--on); }
@media (pointer: coarse) { .fda-slider { --thumb: 22px; } }
"""

_HTML = """<div class="fda-slider">
<label><span></span><output></output></label>
<input type="range" min="0" step="1"><small></small>
</div>
"""

# `waiting`: a value was sent and no answer has come. An answer that changes nothing here never comes: hence the timeout.
_JS = """
const states = new WeakMap();
const PATIENCE = 1000;

function show(state, index) {
  const text = state.data.choices[index];
  state.input.value = index;
  state.output.textContent = text;
  state.input.style.setProperty("--fill", (100 * index) / Math.max(1, state.data.choices.length - 1) + "%");
  state.input.setAttribute("aria-valuetext", text);
}

function send(state) {
  if (state.waiting || state.wanted === null) return;
  const index = state.wanted;
  state.wanted = null;
  if (index === state.data.index) return;
  state.waiting = setTimeout(() => answered(state), PATIENCE);
  state.trigger("picked", index);
}

function answered(state) {
  clearTimeout(state.waiting);
  state.waiting = 0;
  send(state);
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".fda-slider");
  let state = states.get(root);
  if (!state) {
    state = { input: root.querySelector("input"), output: root.querySelector("output"), waiting: 0, wanted: null };
    state.input.addEventListener("input", () => {
      state.wanted = Number(state.input.value);
      show(state, state.wanted);
      send(state);
    });
    states.set(root, state);
  }
  state.data = data;
  state.trigger = setTriggerValue;
  root.querySelector("span").textContent = data.label;
  root.querySelector("small").textContent = data.told;
  state.input.max = data.choices.length - 1;
  state.input.disabled = data.disabled;
  state.input.setAttribute("aria-label", data.label + ": " + data.told);
  if (state.wanted === null) show(state, data.index);
  answered(state);
  return () => {
    clearTimeout(state.waiting);
    states.delete(root);
  };
}
"""

Choice = TypeVar("Choice")

_slider = st.components.v2.component("fda.slider", html=_HTML, css=CSS, js=_JS)


def slider(
    label: str,
    choices: Sequence[Choice],
    value: Choice,
    *,
    key: str,
    told: str,
    on_pick: Callable[[Choice], None],
    disabled: bool = False,
    width: int | str = "stretch",
) -> None:
    """Show `value` among `choices`; `on_pick` is a callback with the one that the reader moves to. `told`: a hint below it."""

    def picked() -> None:
        index = st.session_state[key].picked
        if isinstance(index, int | float) and int(index) in range(len(choices)):  # it comes from a browser
            on_pick(choices[int(index)])

    texts = [f"{one:g}" if isinstance(one, float) else str(one) for one in choices]
    data = {"label": label, "choices": texts, "index": list(choices).index(value), "told": told, "disabled": disabled}
    _slider(key=key, data=data, on_picked_change=picked, width=width)

"""What changes each second of a run that is watched, as one element: a line, a bar, and new figures for the page's own.

It fetches its updates by itself (`fda.ui.feed`), and hands the figures to where `fda.ui.plot.plot` has put figures of the
same keys.
"""

from collections.abc import Mapping
from typing import Any

import streamlit as st

_CSS = """
.fda-ticker { font-family: var(--st-font); color: var(--st-text-color); font-size: 1rem; line-height: 1.6; }
.fda-ticker .state { padding: 0.1rem 0.45rem; border-radius: 0.4rem; font-size: 0.875rem; margin-right: 0.4rem; }
.fda-ticker .bar { height: 0.5rem; margin-top: 0.4rem; border-radius: 0.25rem; overflow: hidden;
  background: var(--st-secondary-background-color); }
.fda-ticker .bar div { height: 100%; background: var(--st-primary-color); transition: width 0.3s; }
@media (prefers-reduced-motion: reduce) { .fda-ticker .bar div { transition: none; } }
"""

_HTML = """<div class="fda-ticker">
  <span class="state"></span><strong></strong><span class="line"></span>
  <div class="bar" role="progressbar" aria-label="Progress of the run" aria-valuemin="0" aria-valuemax="100"><div></div></div>
</div>
"""

_JS = """
const states = new WeakMap();

function show(root, told) {
  const find = (selector) => root.querySelector(selector);
  const state = find(".state");
  state.textContent = told.state;
  state.style.background = `var(--st-${told.colour}-background-color)`;
  state.style.color = `var(--st-${told.colour}-text-color)`;
  find("strong").textContent = told.name;
  find(".line").textContent = told.line;
  find(".bar").setAttribute("aria-valuenow", Math.round(100 * told.share));
  find(".bar div").style.width = `${100 * told.share}%`;
  for (const [key, figure] of Object.entries(told.figures)) window.fdaFigures?.get(key)?.show(figure);
}

// Each second, unless nobody can see it. One question at a time; a server that does not answer is asked again.
async function tick(state) {
  const { feed } = state;
  try {
    if (!document.hidden) {
      const answer = await fetch(`${feed}?seen=${state.seen}`);
      const told = answer.ok ? await answer.json() : null;
      if (state.feed !== feed || !state.root.isConnected) return;
      if (told?.again) state.again();
      else if (told) {
        state.seen = told.seen;
        show(state.root, told);
      }
    }
  } catch {}
  if (state.feed === feed) state.timer = setTimeout(tick, 1000, state);
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".fda-ticker");
  let state = states.get(root);
  if (!state) states.set(root, (state = { root, given: null, feed: null, seen: "", timer: 0 }));
  state.again = () => setTriggerValue("again", true);
  if (data.seen !== state.given) {
    state.given = state.seen = data.seen;
    show(root, data);
  }
  if (data.feed !== state.feed) {
    state.feed = data.feed;
    clearTimeout(state.timer);
    if (state.feed) state.timer = setTimeout(tick, 1000, state);
  }
  return () => {
    clearTimeout(state.timer);
    state.feed = null;
    states.delete(root);
  };
}
"""

_ticker = st.components.v2.component("fda.ticker", html=_HTML, css=_CSS, js=_JS, isolate_styles=False)


def told(
    state: tuple[str, str], name: str, line: str, share: float, figures: Mapping[str, str], seen: str
) -> dict[str, Any]:
    """`state`: a word and its colour (of Streamlit's palette); `share` done, 0..1; `figures`: JSON by the key of `plot`;
    `seen`: what the element calls this when it asks for more.
    """
    word, colour = state
    parts = {"state": word, "colour": colour, "name": name, "line": line, "share": share, "figures": dict(figures)}
    return parts | {"seen": seen}


def ticker(now: Mapping[str, Any], feed: str | None, *, key: str) -> None:
    """Show `now` (see `told`); then, each second, what the feed at this address tells, if there is one."""
    _ticker(key=key, data={**now, "feed": feed}, on_again_change=lambda: None)

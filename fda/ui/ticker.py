"""What changes each second of a run that is watched, as one element: a line, a bar, and new figures for the page's own.

Streamlit makes every element of an update anew, which costs the browser ten milliseconds each; this one changes its text,
and hands the figures to where `fda.ui.plot.plot` has put figures of the same keys.
"""

from collections.abc import Mapping

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
export default function ({ data, parentElement }) {
  const find = (selector) => parentElement.querySelector(".fda-ticker " + selector);
  const state = find(".state");
  state.textContent = data.state;
  state.style.background = `var(--st-${data.colour}-background-color)`;
  state.style.color = `var(--st-${data.colour}-text-color)`;
  find("strong").textContent = data.name;
  find(".line").textContent = data.line;
  find(".bar").setAttribute("aria-valuenow", Math.round(100 * data.share));
  find(".bar div").style.width = `${100 * data.share}%`;
  for (const [key, figure] of Object.entries(data.figures)) window.fdaFigures?.get(key)?.show(figure);
}
"""

_ticker = st.components.v2.component("fda.ticker", html=_HTML, css=_CSS, js=_JS, isolate_styles=False)


def ticker(state: tuple[str, str], name: str, line: str, share: float, figures: Mapping[str, str], *, key: str) -> None:
    """`state`: a word and its colour (of Streamlit's palette); `share` done, 0..1; `figures`: JSON by the key of `plot`."""
    word, colour = state
    told = {"state": word, "colour": colour, "name": name, "line": line, "share": share, "figures": dict(figures)}
    _ticker(key=key, data=told)

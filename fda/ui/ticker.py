"""What changes each second of a run that is watched, as one element: a line, a bar, and new figures for the page's own.

It fetches its updates by itself (`fda.ui.feed`), and hands the figures to where `fda.ui.plot.plot` has put figures of the
same keys.
"""

from collections.abc import Mapping
from typing import Any

from fda.ui.components import component

_ticker = component("ticker", styles=("ticker",), isolate_styles=False)


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

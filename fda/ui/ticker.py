"""The live element of the run page: a status line, a progress bar, and new versions of the page's figures, each second.

It fetches updates by itself (`fda.ui.feed`) and passes figures on to those that `fda.ui.plot.plot` has shown under the same
keys. While the run works the browser's tab is called after its progress; when it ends in a hidden tab, a reader who allowed it
is notified.
"""

from collections.abc import Mapping
from typing import Any

from fda.ui.components import component

_ticker = component("ticker", styles=("ticker",), isolate_styles=False)


def ticker_update(
    state: tuple[str, str], line: str, share: float, figures: Mapping[str, str], seen: str, title: str | None = None
) -> dict[str, Any]:
    """One update. `state`: a word and its colour in Streamlit's palette; `share`: the part done, 0..1; `figures`: key of
    `plot` → JSON; `seen`: the id of this update, which the element sends back when it asks for the next; `title`: of the
    browser's tab meanwhile (`fda.ui.clock.Clock`), None for the page's own.
    """
    word, colour = state
    parts = {"state": word, "colour": colour, "line": line, "share": share, "figures": dict(figures)}
    return parts | {"seen": seen, "title": title}


def ticker(now: Mapping[str, Any], feed: str | None, *, key: str) -> None:
    """Show the update `now`, then, each second, the next one from the feed at this URL path, if given."""
    _ticker(key=key, data={**now, "feed": feed}, on_again_change=lambda: None)

"""Updates that an element of a page fetches by itself, without a run of the page's script.

A run of the script has the browser go through every element of the page three times, which costs it more than drawing what is
new. Who asks must name a secret that went to the page over Streamlit's own socket, so through all its checks: who may not
see the page cannot ask for its updates.
"""

from collections import OrderedDict
from collections.abc import Callable
from secrets import token_urlsafe
from threading import Lock
from typing import Any

import streamlit as st
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from fda.errors import UserError

Feed = Callable[[str], dict[str, Any]]
"""What the element saw last (its own word for it; empty at first) → what it is told, as JSON can say it.

Called in a thread of its own, never twice at once by one page. `BEGIN_ANEW`, or a UserError, has the page's script run again.
"""

BEGIN_ANEW: dict[str, Any] = {"again": True}
PATH = "/updates"
MOST = 256  # feeds that are kept; what was not asked for longest goes first

_feeds: OrderedDict[str, Feed] = OrderedDict()
_lock = Lock()


def address(path: str) -> str:
    """Where a path of the server, which begins with a slash, is for a browser: below `server.baseUrlPath`, if that is set."""
    below = st.get_option("server.baseUrlPath").strip("/")
    return f"{'/' if below else ''}{below}{path}"


def offer(feed: Feed, key: str) -> str:
    """The address of this session's feed of that key, which takes the place of the one before."""
    secret = st.session_state.setdefault(f"feed-{key}", token_urlsafe())
    with _lock:
        _feeds[secret] = feed
        _feeds.move_to_end(secret)
        while len(_feeds) > MOST:
            _feeds.popitem(last=False)
    return address(f"{PATH}/{secret}")


def route() -> Route:
    """For the server."""
    return Route(address(f"{PATH}/{{secret}}"), answer)


def answer(request: Request) -> JSONResponse:
    """What the feed tells. A secret of a server before this one, or of a feed that had to go, is told to begin anew."""
    secret = request.path_params["secret"]
    with _lock:
        feed = _feeds.get(secret)
        if feed is not None:
            _feeds.move_to_end(secret)
    try:
        told = BEGIN_ANEW if feed is None else feed(request.query_params.get("seen", ""))
    except UserError:
        told = BEGIN_ANEW  # where the sentence is shown
    return JSONResponse(told, headers={"Cache-Control": "no-store"})

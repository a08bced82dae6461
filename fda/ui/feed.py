"""Updates that an element of a page fetches by itself, without a run of the page's script.

A run of the script has the browser go through every element of the page three times, which costs it more than drawing what is
new. Who asks must name a secret that went to the page over Streamlit's own socket, so through all its checks: who may not
see the page cannot ask for its updates. The secret ends with the session.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_urlsafe
from threading import Lock
from typing import Any

import streamlit as st
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from streamlit.runtime import Runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from fda.errors import UserError

Feed = Callable[[str], dict[str, Any]]
"""What the element saw last (its own word for it; empty at first) → what it is told, as JSON can say it.

Called in a thread of its own, never twice at once by one page. `BEGIN_ANEW`, or a UserError, has the page's script run again.
"""

BEGIN_ANEW: dict[str, Any] = {"again": True}
PATH = "/updates"
MOST = 256  # feeds that are kept; what was not asked for longest goes first


@dataclass(frozen=True)
class _Offered:
    session: str
    feed: Feed


_feeds: OrderedDict[str, _Offered] = OrderedDict()
_lock = Lock()


def address(path: str) -> str:
    """Where a path of the server, which begins with a slash, is for a browser: below `server.baseUrlPath`, if that is set."""
    below = st.get_option("server.baseUrlPath").strip("/")
    return f"{'/' if below else ''}{below}{path}"


def offer(feed: Feed, key: str) -> str:
    """The address of this session's feed of that key, which takes the place of the one before."""
    secret = st.session_state.setdefault(f"feed-{key}", token_urlsafe())
    with _lock:
        for other in [other for other, one in _feeds.items() if not _goes_on(one.session)]:
            del _feeds[other]  # with what it keeps of its run
        _feeds[secret] = _Offered(get_script_run_ctx().session_id, feed)
        _feeds.move_to_end(secret)
        while len(_feeds) > MOST:
            _feeds.popitem(last=False)
    return address(f"{PATH}/{secret}")


def route() -> Route:
    """For the server."""
    return Route(address(f"{PATH}/{{secret}}"), answer)


def answer(request: Request) -> JSONResponse:
    """What the feed tells. A secret of a session that ended, of a server before this one, or of a feed that had to go,
    is told to begin anew."""
    secret = request.path_params["secret"]
    with _lock:
        offered = _feeds.get(secret)
        if offered is not None and not _goes_on(offered.session):
            offered = None
            del _feeds[secret]  # a session that comes back offers it again
        if offered is not None:
            _feeds.move_to_end(secret)
    try:
        told = BEGIN_ANEW if offered is None else offered.feed(request.query_params.get("seen", ""))
    except UserError:
        told = BEGIN_ANEW  # where the sentence is shown
    return JSONResponse(told, headers={"Cache-Control": "no-store"})


def _goes_on(session: str) -> bool:
    """Whether a browser is connected to the session; without a server, as in tests of a page, each goes on."""
    return not Runtime.exists() or Runtime.instance().is_active_session(session)

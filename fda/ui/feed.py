"""Updates that an element of a page fetches by itself, without running the page's script.

After each run of the script the browser walks through every element of the page three times, which costs more than drawing
what is new. Each session has a secret URL, which the page receives over Streamlit's own checked socket; without it a client
gets nothing. The secret ends with the session.
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
"""A function from the id of the update that the element saw last (empty at first) to the next update, as JSON values.

It runs in a server thread, never twice at once for one page. `BEGIN_ANEW` or a UserError makes the page's script run again.
"""

BEGIN_ANEW: dict[str, Any] = {"again": True}
PATH = "/updates"
MOST = 256  # feeds kept; the least recently used goes first


@dataclass(frozen=True)
class _Offered:
    session: str
    feed: Feed


_feeds: OrderedDict[str, _Offered] = OrderedDict()
_lock = Lock()


def address(path: str) -> str:
    """The URL path for a browser of a server path, which begins with a slash: below `server.baseUrlPath`, if set."""
    below = st.get_option("server.baseUrlPath").strip("/")
    return f"{'/' if below else ''}{below}{path}"


def offer(feed: Feed, key: str) -> str:
    """Offer `feed` as this session's feed `key`, in place of the last, and return its URL path."""
    context = get_script_run_ctx()
    assert context is not None, "only a page's script offers a feed"
    secret = st.session_state.setdefault(f"feed-{key}", token_urlsafe())
    with _lock:
        for ended in [name for name, offered in _feeds.items() if not is_connected(offered.session)]:
            del _feeds[ended]  # and with it the picture of its run
        _feeds[secret] = _Offered(context.session_id, feed)
        _feeds.move_to_end(secret)
        while len(_feeds) > MOST:
            _feeds.popitem(last=False)
    return address(f"{PATH}/{secret}")


def route() -> Route:
    """The server's route to all feeds."""
    return Route(address(f"{PATH}/{{secret}}"), answer)


def answer(request: Request) -> JSONResponse:
    """The feed's next update. An unknown secret (session ended, server restarted, feed dropped) gets `BEGIN_ANEW`."""
    secret = request.path_params["secret"]
    with _lock:
        offered = _feeds.get(secret)
        if offered is not None and not is_connected(offered.session):
            offered = None
            del _feeds[secret]  # a session that reconnects offers it again
        if offered is not None:
            _feeds.move_to_end(secret)
    try:
        update = BEGIN_ANEW if offered is None else offered.feed(request.query_params.get("seen", ""))
    except UserError:
        update = BEGIN_ANEW  # the page shows the error
    return JSONResponse(update, headers={"Cache-Control": "no-store"})


def is_connected(session: str) -> bool:
    """Whether a browser is connected to the session; always true without a server, as in tests of a page."""
    return not Runtime.exists() or Runtime.instance().is_active_session(session)

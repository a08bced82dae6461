"""Access control: the server answers only requests to its own names from its own pages, and accepts no uploads.

Streamlit checks Host on the WebSocket only and ignores the port of an Origin, so any other server on this machine could drive
the dashboard. This middleware runs before all of Streamlit's routes and ours.

Behind a proxy, name the outer host in `server.allowedHosts` and let the proxy pass Host on. If it cannot, list the outer
address (`https://fda.example.org`) in `server.corsAllowedOrigins`.
"""

import os
from urllib.parse import SplitResult, urlsplit

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.web.server.starlette.starlette_websocket import is_host_allowed

from fda.ui.feed import address

PORTS = {"http": 80, "https": 443}
UPLOADS = "/_stcore/upload_file"
# An image from another server would reveal who reads what; another site's frame could trick a visitor into our buttons, so only
# sites that FDA_FRAMED_BY names (a hub that shows the demo in its own page) may frame the dashboard.
POLICY = "img-src 'self' data: blob:; media-src 'self' data: blob:; frame-ancestors 'self'"

OTHER_HOST = (
    "The dashboard does not answer to this host name: open it as localhost, or add the name to server.allowedHosts in "
    ".streamlit/config.toml."
)
OTHER_ORIGIN = (
    "Only the dashboard's own pages may send it requests. Behind a proxy, pass Host on, or add the outer address to "
    "server.corsAllowedOrigins in .streamlit/config.toml."
)
NO_UPLOADS = "The dashboard accepts no uploads."


class Guard:
    """ASGI middleware: refuses forbidden requests with a sentence and adds `policy` to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        if refused := refusal(Headers(scope=scope), scope["path"]):
            await refused(scope, receive, send)
            return

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = policy()
            await send(message)

        await self.app(scope, receive, send_with_policy)


def policy() -> str:
    """`POLICY`, with the origins that FDA_FRAMED_BY lists, separated by spaces; what is no origin is left out."""
    others = [site for site in os.environ.get("FDA_FRAMED_BY", "").split() if _parse_origin(site)]
    return " ".join([POLICY, *others])


def refusal(headers: Headers, path: str) -> PlainTextResponse | None:
    """The response that refuses a request; None for an allowed one.

    A browser always sends Host, and an Origin with every WebSocket. Other clients can forge any Origin, so a missing one is
    no extra danger.
    """
    hosts, origins = headers.getlist("host"), headers.getlist("origin")
    if len(hosts) != 1 or not is_host_allowed(hosts[0]):
        return PlainTextResponse(OTHER_HOST, 403)
    if any(not is_own(origin, hosts[0]) for origin in origins):
        return PlainTextResponse(OTHER_ORIGIN, 403)
    if path.startswith(address(UPLOADS)):
        return PlainTextResponse(NO_UPLOADS, 404)
    return None


def is_own(origin: str, host: str) -> bool:
    """Whether an Origin is the server's own: it matches Host, or `server.corsAllowedOrigins` lists it."""
    parsed = _parse_origin(origin)
    if parsed is None:
        return False
    allowed = [f"{parsed[0]}://{host}", *st.get_option("server.corsAllowedOrigins")]
    return parsed in map(_parse_origin, allowed)


def _parse_origin(url: str) -> tuple[str, str, int] | None:
    """(scheme, host, port); None if `url` is not an origin, such as the `null` of a sandboxed frame."""
    try:
        parts = urlsplit(url.strip())
        default = PORTS[parts.scheme]
        port = default if parts.port is None else parts.port
    except (ValueError, KeyError):  # an invalid port, another scheme
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname and _is_bare(parts) else None


def _is_bare(parts: SplitResult) -> bool:
    return "@" not in parts.netloc and parts.path in ("", "/") and not parts.query and not parts.fragment

"""Who may ask the server: it answers to its own names, to its own pages, and takes no files.

Streamlit checks Host on the WebSocket only, and compares an Origin without its port, so that any other server of this machine
could drive the dashboard. This stands before all of Streamlit's routes and before ours.

Behind a proxy: name the outer host in `server.allowedHosts` and have the proxy pass Host on. One that cannot: give the outer
address (`https://fda.example.org`) in `server.corsAllowedOrigins`.
"""

from urllib.parse import SplitResult, urlsplit

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.web.server.starlette.starlette_websocket import is_host_allowed

from fda.ui.feed import address

PORTS = {"http": 80, "https": 443}
UPLOADS = "/_stcore/upload_file"
# A picture of another server would tell it who reads what, and another site's frame could have a visitor press our buttons.
POLICY = "img-src 'self' data: blob:; media-src 'self' data: blob:; frame-ancestors 'self'"

OTHER_HOST = (
    "The dashboard has no such name: open it as localhost, or add the name to server.allowedHosts in "
    ".streamlit/config.toml."
)
OTHER_ORIGIN = (
    "Only the dashboard's own pages may ask it. Behind a proxy: have it pass Host on, or add the outer address to "
    "server.corsAllowedOrigins in .streamlit/config.toml."
)
NO_UPLOADS = "The dashboard takes no files."


class Guard:
    """ASGI middleware: refuses with a sentence, and adds the policy for what is shown to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        if refused := refusal(Headers(scope=scope), scope["path"]):
            await refused(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = POLICY
            await send(message)

        await self.app(scope, receive, sending)


def refusal(headers: Headers, path: str) -> PlainTextResponse | None:
    """The answer to who may not ask, or for what is not there; None for all others.

    A browser always sends Host, and Origin with a WebSocket. What is no browser can send any Origin it likes, so that a missing
    one is no danger.
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
    """Whether an Origin is the server's: its host and port are those of Host, or it is listed as the proxy's."""
    asked = _place(origin)
    if asked is None:
        return False
    scheme = asked[0]
    own = [f"{scheme}://{host}", *st.get_option("server.corsAllowedOrigins")]
    return asked in map(_place, own)


def _place(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an origin; None if it is none, as `null` of a sandboxed frame."""
    try:
        parts = urlsplit(url.strip())
        usual = PORTS[parts.scheme]
        port = usual if parts.port is None else parts.port
    except (ValueError, KeyError):  # a port that is none, another scheme
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname and _is_bare(parts) else None


def _is_bare(parts: SplitResult) -> bool:
    return "@" not in parts.netloc and parts.path in ("", "/") and not parts.query and not parts.fragment

"""Access control for visitors: where visitors must sign in, no request passes without a name that has a role.

This middleware runs behind `guard.py` and before all of Streamlit's routes and ours: pages, deep links, the WebSocket, media,
downloads, `/updates`. Only what signing in needs and the health of the server answer to strangers. Whoever may not come in gets
a small page of its own, which needs no script.
"""

from collections.abc import Sequence
from html import escape
from urllib.parse import quote, unquote

from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.auth_util import is_authlib_installed
from streamlit.user_info import generate_login_redirect_url

from fda.errors import UserError
from fda.ui import health
from fda.ui.components import source
from fda.ui.feed import address
from fda.ui.identity import PASSED_ON, Door, door, providers

OPEN = ("/_stcore/health", health.PATH, "/auth/login", "/auth/logout", "/oauth2callback")
WANTED = "fda_wanted"  # cookie: the page that a visitor asked for before signing in
WANTED_SECONDS = 600
MOST_PATH = 1500  # characters


class SignIn:
    """ASGI middleware: lets in who has a role, and at most as many open pages as `limits.sessions` of access.toml."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.pages = 0  # open WebSockets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        name = None
        try:
            now = door()
            name = now.name(request) if now.guarded else None
            refused = self._refusal(now, name, request)
        except UserError as error:
            refused = _told(request, 503, str(error))
        if refused is not None:
            await refused(scope, receive, send)
        elif scope["type"] == "http":
            await self.app(scope, receive, send)
        else:
            await self._stream(request, name, receive, send)

    def _refusal(self, now: Door, name: str | None, request: HTTPConnection) -> Response | None:
        """What answers instead of the dashboard; None for a request that may pass."""
        path = request.scope["path"]
        if path in map(address, OPEN):
            return None
        if now.guarded:
            if name is None:
                return _sign_in(now, request)
            if now.role(name) is None:
                stranger = f"you are {name} and have no role here: ask an administrator of this dashboard for one."
                return _told(request, 403, stranger, out=now.sign_in)
        most = now.access.limits.sessions
        if most is not None and self.pages >= most and (request.scope["type"] == "websocket" or _is_visit(request)):
            return _told(
                request, 503, f"as many pages are open as are allowed ({most}): close one, or come back later."
            )
        if path == address("/") and WANTED in request.cookies and _is_visit(request):
            return _back_to(unquote(request.cookies[WANTED]))
        return None

    async def _stream(self, request: HTTPConnection, name: str | None, receive: Receive, send: Send) -> None:
        """Pass a WebSocket on, with the visitor's name, as long as they may come in: each message is checked."""
        scope = dict(request.scope)
        if name is not None:
            scope["headers"] = [*scope["headers"], (PASSED_ON.encode(), quote(name).encode())]

        async def receive_if_allowed() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive" and not _may_stay(request):
                return {"type": "websocket.disconnect", "code": 1008}
            return message

        self.pages += 1
        try:
            await self.app(scope, receive_if_allowed, send)
        finally:
            self.pages -= 1


def _may_stay(request: HTTPConnection) -> bool:
    try:
        now = door()
        return not now.guarded or now.role(now.name(request)) is not None
    except UserError:
        return False


def _is_visit(request: HTTPConnection) -> bool:
    """Whether a browser asks for a page to show."""
    scope = request.scope
    return scope["type"] == "http" and scope["method"] == "GET" and "text/html" in request.headers.get("accept", "")


def _sign_in(now: Door, request: HTTPConnection) -> Response:
    """The page with the links to sign in. It remembers which page was asked for."""
    if not now.sign_in:
        return _told(request, 401, "The proxy in front of this dashboard named no visitor: ask its administrator.")
    if not is_authlib_installed():
        raise UserError("signing in needs the package Authlib: `pip install Authlib httpx` where the dashboard runs.")
    if not _is_visit(request):
        return PlainTextResponse("Sign in first: open the dashboard in a browser.", 401)
    names = providers()
    links = [
        (generate_login_redirect_url(name), "Sign in" if len(names) == 1 else f"Sign in with {name}") for name in names
    ]
    answer = _page(401, "Sign in to see the runs of this dashboard.", links)
    path, query = request.scope["path"], request.scope["query_string"].decode("latin-1")
    wanted = quote(path) + (f"?{query}" if query else "")
    if len(wanted) <= MOST_PATH:
        answer.set_cookie(
            WANTED, quote(wanted, safe=""), max_age=WANTED_SECONDS, path=address("/"), httponly=True, samesite="lax"
        )
    return answer


def _back_to(wanted: str) -> Response:
    """A redirection to the page that was asked for before signing in, if it is one of this server's."""
    begins = address("/")
    of_this_server = wanted.startswith(begins) and wanted[1:2] not in ("/", "\\") and wanted.isprintable()
    answer = RedirectResponse(wanted if of_this_server else begins, 302)
    answer.delete_cookie(WANTED, path=begins)
    return answer


def _told(request: HTTPConnection, status: int, sentence: str, *, out: bool = False) -> Response:
    """A sentence, as a page for a browser. `out`: with a link to sign out."""
    sentence = sentence[:1].upper() + sentence[1:]
    if not _is_visit(request):
        return PlainTextResponse(sentence, status)
    return _page(status, sentence, [(address("/auth/logout"), "Sign out")] if out else [])


def _page(status: int, sentence: str, links: Sequence[tuple[str, str]]) -> HTMLResponse:
    # imported here: it brings numpy, for whose 0.08 s the server would not listen yet
    from fda.figures.theme import PALETTES

    colours = {
        theme: f"--ink: {one.ink}; --page: {one.page}; --accent: {one.accent}" for theme, one in PALETTES.items()
    }
    style = f":root {{ {colours['light']} }} @media (prefers-color-scheme: dark) {{ :root {{ {colours['dark']} }} }}"
    buttons = "".join(f'<a href="{escape(url)}">{escape(label)}</a>' for url, label in links)
    text = source("sign_in.html").format(style=style + source("sign_in.css"), sentence=escape(sentence), links=buttons)
    return HTMLResponse(text, status, headers={"Cache-Control": "no-store"})

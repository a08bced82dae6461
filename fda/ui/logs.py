"""The server's log as one JSON object a line, for a collector: set `FDA_LOG=json`. Without it the log stays Streamlit's own.

Requests are logged without what is secret or long in them: of a path below `/updates`, which is a key, only that it was one,
and never a query.
"""

import json
import logging
import os
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fda.ui import feed

REQUESTS = logging.getLogger("fda.requests")


def is_wanted() -> bool:
    """Whether FDA_LOG asks for JSON lines."""
    return os.environ.get("FDA_LOG", "").lower() == "json"


class JsonLines(logging.Formatter):
    """A record as JSON: time (UTC, ISO 8601), level, logger, message; what `extra={"fields": …}` gives; a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        said = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        } | getattr(record, "fields", {})
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said)


def write_json_lines() -> None:
    """Let every logger of this process that writes to the terminal write JSON lines."""
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.StreamHandler())
    known = [root, *(one for one in root.manager.loggerDict.values() if isinstance(one, logging.Logger))]
    for handler in {handler for logger in known for handler in logger.handlers}:
        handler.setFormatter(JsonLines())
    REQUESTS.setLevel(logging.INFO)


class RequestLog:
    """ASGI middleware: one line for each request that has been answered, and for each websocket that has closed."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not is_wanted():
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 101 if scope["type"] == "websocket" else 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            method, path = scope.get("method", "WEBSOCKET"), shown(scope["path"])
            fields = {"status": status, "ms": round((time.perf_counter() - began) * 1e3, 1)}
            REQUESTS.info("%s %s", method, path, extra={"fields": {"method": method, "path": path} | fields})


def shown(path: str) -> str:
    """A path as the log shows it."""
    updates = feed.address(feed.PATH)
    return f"{updates}/…" if path.startswith(f"{updates}/") else path

"""A hub on loopback that serves folders `root/org/name` as repositories, for the real client to talk to."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "c" * 40


class Asked(list):
    """Every request: (verb, path, Range header or None, bytes sent)."""

    def of_weights(self) -> list[tuple[str, str, str | None, int]]:
        return [one for one in self if one[1].endswith((".safetensors", ".bin"))]


class Handler(BaseHTTPRequestHandler):
    """`server.gated`: ids that are refused. `server.drops`: so many answers with weights are cut off in the middle.

    `server.held`: weights whose path holds this text wait as long as it stays.
    """

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None: ...

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        parts = path.removeprefix("/api/models").strip("/").split("/")
        name, folder = "/".join(parts[:2]), self.server.root / "/".join(parts[:2])
        if name in self.server.gated:
            return self.answer(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
        if not folder.is_dir():
            return self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        if path.startswith("/api/"):
            files = [one for one in sorted(folder.rglob("*")) if one.is_file()]
            siblings = [{"rfilename": str(one.relative_to(folder)), "size": one.stat().st_size} for one in files]
            told = {"id": name, "sha": COMMIT, "siblings": siblings, "private": False}
            return self.answer(200, json.dumps(told).encode(), {"Content-Type": "application/json"})
        file = folder.joinpath(*parts[4:])  # org/name/resolve/COMMIT/file
        if not file.is_file():
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        content = file.read_bytes()
        headers = {"ETag": f'"{sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        begin, _, end = (self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")
        start, stop = int(begin), min(int(end or len(content)) + 1, len(content))
        partial = "Range" in self.headers
        if partial:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        whole = content[start:stop] if partial else content
        weights = self.command == "GET" and not end and file.suffix == ".safetensors"
        while weights and self.server.held and self.server.held in path:
            time.sleep(0.02)
        drop = weights and self.server.drops > 0
        self.server.drops -= drop
        self.answer(206 if partial else 200, whole, headers, cut=len(whole) // 2 if drop else None)

    def answer(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        sent = b"" if self.command == "HEAD" else body[:cut]
        self.server.asked.append((self.command, self.path.split("?")[0], self.headers.get("Range"), len(sent)))
        self.wfile.write(sent)
        self.close_connection = cut is not None


@contextmanager
def stand_in_hub(root: Path) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.root, server.gated, server.drops, server.held, server.asked = root, set(), 0, "", Asked()
    server.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def client_environment(address: str, cache: Path) -> dict[str, str]:
    """What makes the client talk to the stand-in and keep its cache to itself."""
    return {"HF_ENDPOINT": address, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}

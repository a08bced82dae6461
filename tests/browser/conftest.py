"""A real server and a real Chromium. Skipped where there is no Chromium, but never in continuous integration."""

import os
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, TimeoutError, expect

from fda.bench.dashboard import CHROMIUM, Server, browser

T = TypeVar("T")

PATIENCE = 60  # seconds that a page has to show what it should; a busy machine takes its time
expect.set_options(timeout=1000 * PATIENCE)

COUNT_MESSAGES = """window.messages = 0;
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (data) { window.messages += 1; return send.call(this, data); };"""


class Visit:
    """A browser window that remembers what must not happen: console errors, and requests to other machines."""

    def __init__(self, context: BrowserContext, server: Server) -> None:
        context.set_default_timeout(1000 * PATIENCE)
        self.page: Page = context.new_page()
        self.server = server
        self.errors: list[str] = []
        self.outside: list[str] = []
        self.lenient = False  # while the server is away, connection errors are expected
        self.page.on("console", lambda m: self._said(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self._said(str(error)))
        self.page.on("request", lambda request: self._asked(request.url))

    def _said(self, text: str) -> None:
        # probing of base paths by Streamlit itself gives harmless 404s on deep links
        if not self.lenient and "404" not in text:
            self.errors.append(text)

    def _asked(self, url: str) -> None:
        if not url.startswith((self.server.url, self.server.url.replace("http", "ws"), "data:", "blob:")):
            self.outside.append(url)

    def open(self, path: str) -> Page:
        self.page.goto(self.server.url + path)
        self.settle()
        return self.page

    def settle(self) -> None:
        """Wait until a page stands and no script runs."""
        self.page.wait_for_selector("[data-testid=stMain] h1")
        self.page.wait_for_function(
            "document.querySelector('[data-testid=stApp]')?.dataset.testScriptState !== 'running'"
        )

    def until(self, condition: Callable[[], T], seconds: float = PATIENCE) -> T:
        """Ask again until it is true, while the browser goes on; its value. What a page shows follows what it is told, so
        nothing that it shows is asserted at once."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, "waited in vain"
            self.page.wait_for_timeout(100)
        return found

    def pick(self, box: Locator, option: str, *, typed: bool = False, exact: bool = False) -> None:
        """Take what a box of choices offers, if need be after typing it. Where a run of the script closes the list: again."""
        offered = self.page.get_by_role("option", name=option, exact=exact).first

        def picked() -> bool:
            box.click()
            if typed:
                box.fill(option)
            try:
                offered.click(timeout=5_000)
            except TimeoutError:
                self.page.keyboard.press("Escape")
                return False
            return True

        self.until(picked)
        self.settle()

    def count_messages(self) -> None:
        """From the next page on: how often the browser asks the server to run a script."""
        self.page.add_init_script(COUNT_MESSAGES)

    def messages(self) -> int:
        return self.page.evaluate("window.messages")

    def check(self) -> None:
        """Nothing went wrong on this page, and no traceback shows."""
        assert self.errors == [] and self.outside == []
        text = self.page.inner_text("body")
        assert "Traceback" not in text and "Error:" not in text, text


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("there is no Chromium: `make test` installs one with apt-get")
        pytest.skip("there is no Chromium")
    one = Server(tmp_path_factory.mktemp("home"))
    one.start()
    yield one
    one.stop()


@pytest.fixture
def visit(server: Server) -> Iterator[Visit]:
    with browser() as opened:
        yield Visit(opened.new_context(viewport={"width": 1400, "height": 1000}), server)

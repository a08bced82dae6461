"""What tests in a browser share: a window that remembers what must not happen, and the finished runs to look at."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from playwright.sync_api import ConsoleMessage, Error, Locator, Page, Request, TimeoutError, expect

from fda.bench.dashboard import Server
from fda.cancel import NEVER
from fda.stages.execute import execute
from fda.store.spec import RunSpec
from fda.store.store import Store

T = TypeVar("T")

WINDOW = {"width": 1400, "height": 1000}
STEPS = 30  # of the finished runs
# two references, methods of each kind, one with a sweep, and one that fails for want of its inputs
METHODS = (
    "ta",
    "ta:swept",
    "tsv",
    "ties",
    "regmean",
    "slerp",
    "wudi",
    "fda:ta",
    "fda:pretrained",
    "fda:tsv",
    "iso_cts",
)
PATIENCE = 60  # seconds that a page has to show what it should; a busy machine takes its time
expect.set_options(timeout=1000 * PATIENCE)

COUNT_MESSAGES = """if (window.messages === undefined) {
  window.messages = 0;
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (data) { window.messages += 1; return send.call(this, data); };
}"""


class Visit:
    """A window that remembers what must not happen: console errors, and requests to other machines."""

    def __init__(self, page: Page, server: Server) -> None:
        self.page = page
        self.server = server
        self.errors: list[str] = []
        self.outside: list[str] = []
        self.lenient = False  # while the server is away, connection errors are expected
        page.set_viewport_size(WINDOW)
        page.emulate_media(color_scheme="light", reduced_motion="no-preference")
        page.on("console", self._logged)
        page.on("pageerror", self._failed)
        page.on("request", self._asked)

    def leave(self) -> None:
        """Listen no longer: the next test has the window."""
        self.page.remove_listener("console", self._logged)
        self.page.remove_listener("pageerror", self._failed)
        self.page.remove_listener("request", self._asked)

    def _logged(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._said(message.text)

    def _failed(self, error: Error) -> None:
        self._said(str(error))

    def _said(self, text: str) -> None:
        # probing of base paths by Streamlit itself gives harmless 404s on deep links
        if not self.lenient and "404" not in text:
            self.errors.append(text)

    def _asked(self, request: Request) -> None:
        url = request.url
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
        """Nothing went wrong on this page, no script of it ended early, and no traceback shows."""
        assert self.errors == [] and self.outside == []
        assert not self.page.locator("[data-testid=stException]").count(), "a script of the page ended in an error"
        text = self.page.inner_text("body")
        assert "Traceback" not in text and "Error:" not in text, text


@dataclass(frozen=True)
class Finished:
    """A server with finished runs of the tiny zoo, to look at: `run` with methods and a landscape, `plane`; `other` begins
    elsewhere."""

    server: Server
    run: str
    other: str
    plane: str


def done(store: Store, spec: RunSpec) -> str:
    """Carry this run out here; its id."""
    run_id = store.create_run(spec)
    execute(store, run_id, NEVER)
    store.set_state(run_id, "done")
    return run_id

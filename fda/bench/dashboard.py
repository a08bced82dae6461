"""A dashboard server on a free loopback port, and a headless Chromium to open it with.

The page benchmark and the browser tests share this module. Only development needs Playwright and Chromium.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fda.errors import UserError
from fda.home import REPO

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]  # fmt: skip
START_SECONDS = 60
STANDS = (
    "document.querySelector('[data-testid=stMain] h1') && "
    "document.querySelector('[data-testid=stApp]')?.dataset.testScriptState !== 'running'"
)  # the page has a title and no script runs


def free_port() -> int:
    """A port of the loopback address on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """The dashboard on a loopback port, with `home` as FDA_HOME and below the path `base`, if given. It can be stopped and
    started again.

    `options`: of Streamlit, such as `--secrets.files PATH`; `environment`: variables beside this process's own.
    """

    def __init__(
        self, home: Path, options: Sequence[str] = (), environment: Mapping[str, str] | None = None, base: str = ""
    ) -> None:
        self.port = free_port()
        self.home = home
        self.options, self.environment = [*options, "--server.baseUrlPath", base], {**(environment or {})}
        self.url = f"http://127.0.0.1:{self.port}{base}"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start it and wait until it answers. UserError if it does not."""
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(self.port)]
        environment = os.environ | {"FDA_HOME": str(self.home)} | self.environment
        with (self.home / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--server.headless", "true", *self.options],
                cwd=REPO,
                env=environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise UserError(f"the dashboard did not start: {self.home / 'server.log'} says why.")
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=20)
            self.process = None

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1)
        except OSError:
            return False
        return True


@contextmanager
def browser() -> Iterator["Browser"]:
    """A headless Chromium. UserError if Chromium or Playwright is not installed."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise UserError(
            "pages are measured in a browser by Playwright, which is not installed: `pip install playwright`."
        ) from None
    if CHROMIUM is None:
        raise UserError("there is no Chromium to measure pages in: install one (`apt-get install chromium`).")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield opened
        finally:
            opened.close()

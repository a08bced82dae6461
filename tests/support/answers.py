"""Waiting for a server that a test has started by itself."""

import subprocess
import time
import urllib.request
from pathlib import Path


def until_it_answers(url: str, process: subprocess.Popen, log: Path, seconds: float = 60) -> None:
    """Wait until `url` is answered. Fails with the log if the process ends before, or takes too long."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=5)
            return
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)

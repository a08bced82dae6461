"""Run a Python module in a child process with limited time and memory, to read untrusted files.

A page must survive whatever a file does to its reader. Callers choose the module and interpret its answer.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

import psutil

from fda.cancel import NEVER, Cancel
from fda.child_limits import child_limits
from fda.errors import UserError

POLL_SECONDS = 0.05  # between two checks of the memory: a reader that allocates 2 GB/s exceeds its limit by 0.1 GB
MOST_ANSWERED = 256 * 2**20  # bytes on standard output: a survey of 300,000 tensors is 60 MB


@dataclass(frozen=True)
class Limits:
    """`seconds` of wall time; `memory`: resident bytes, None for no limit.

    Resident memory is polled, because RLIMIT_AS would also count addresses that CUDA and torch reserve but do not use.
    """

    seconds: float
    memory: int | None = None


class Passed(UserError):
    """A child process was killed because it exceeded a limit."""


def run_child(
    words: Sequence[str],
    limits: Limits,
    *,
    what: str,
    instead: str,
    text: str = "",
    cancel: Cancel = NEVER,
) -> subprocess.CompletedProcess[str]:
    """Run `python words…` with `text` on its standard input, and wait for it to end.

    Cancelled, and the child is ended, if `cancel` asks for it.
    `Passed` if it exceeds a limit; the message names `what` was read and what to do `instead`.
    """
    limit = child_limits()
    with (
        tempfile.TemporaryFile() as stdin,
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
    ):
        stdin.write(text.encode())
        stdin.seek(0)
        with subprocess.Popen([sys.executable, *words], stdin=stdin, stdout=stdout, stderr=stderr) as child:
            try:
                _limit_cpu(child.pid, limits.seconds)
                limit(child.pid)
                exceeded = _wait(child, limits, cancel)
            finally:
                child.kill()  # does nothing if the child has ended
        if exceeded is None and stdout.seek(0, os.SEEK_END) > MOST_ANSWERED:
            exceeded = f"an answer of {MOST_ANSWERED >> 20} MiB"
        if exceeded is not None:
            raise Passed(f"{what} was not read within {exceeded}: {instead}.")
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(words, child.returncode, _text(stdout), _text(stderr))


def _wait(child: subprocess.Popen, limits: Limits, cancel: Cancel) -> str | None:
    """Wait until the child ends or exceeds a limit. Returns that limit in words, or None."""
    deadline, process = time.monotonic() + limits.seconds, psutil.Process(child.pid)
    while True:
        with suppress(subprocess.TimeoutExpired):
            child.wait(POLL_SECONDS)
            return None
        cancel.check()
        if time.monotonic() > deadline:
            return f"{limits.seconds:.0f} s"
        with suppress(psutil.Error):  # the child ended a moment ago
            if limits.memory is not None and process.memory_info().rss > limits.memory:
                return f"{limits.memory / 2**30:.1f} GiB of memory"


def _limit_cpu(pid: int, seconds: float) -> None:
    """Limit the child's CPU time, so that it ends even if this process dies. Only Linux can set that for another process."""
    import resource

    if hasattr(resource, "prlimit"):
        limit = int(seconds * (os.cpu_count() or 1)) + 1
        with suppress(OSError):
            resource.prlimit(pid, resource.RLIMIT_CPU, (limit, limit))


def _text(file: BinaryIO) -> str:
    return file.read().decode("utf-8", "replace")

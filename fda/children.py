"""Work that strangers' files ask for, done in a process of its own whose time and memory are limited.

A page must survive whatever a file does to its reader. What is asked of the process, and what its answer means, is the
callers' business.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

import psutil

from fda.errors import UserError
from fda.home import REPO

LOOK_SECONDS = 0.05  # between two looks at the memory: a reader that allocates 2 GB/s passes its limit by 0.1 GB
MOST_ANSWERED = 256 * 2**20  # bytes of an answer: a survey of 300,000 tensors is 60 MB


@dataclass(frozen=True)
class Limits:
    """`seconds` by the clock; `memory`: bytes that are resident, None for as much as there is.

    Memory is watched, not reserved: CUDA and torch reserve far more addresses than they use, which RLIMIT_AS would count.
    """

    seconds: float
    memory: int | None = None


class Passed(UserError):
    """A child was ended since it passed a limit."""


def run_child(
    words: Sequence[str],
    limits: Limits,
    *,
    what: str,
    instead: str,
    text: str = "",
    pulse: Callable[[], None] = lambda: None,
) -> subprocess.CompletedProcess[str]:
    """Run `python words…` of this package with `text` as its input, and wait for it.

    `pulse` is called while it waits; if it raises, the child is ended.
    Passed, one sentence, if it passes a limit: `what` was read, and what to do `instead`.
    """
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as answer,
        tempfile.TemporaryFile() as told,
    ):
        given.write(text.encode())
        given.seek(0)
        with subprocess.Popen(
            [sys.executable, *words], stdin=given, stdout=answer, stderr=told, env=_environment()
        ) as child:
            try:
                _limit_cpu(child.pid, limits.seconds)
                limit = _watch(child, limits, pulse)
            finally:
                child.kill()  # nothing, if it has ended
        if limit is None and answer.seek(0, os.SEEK_END) > MOST_ANSWERED:
            limit = f"an answer of {MOST_ANSWERED >> 20} MiB"
        if limit is not None:
            raise Passed(f"{what} was not read within {limit}: {instead}.")
        answer.seek(0)
        told.seek(0)
        return subprocess.CompletedProcess(words, child.returncode, _text(answer), _text(told))


def _watch(child: subprocess.Popen, limits: Limits, pulse: Callable[[], None]) -> str | None:
    """Wait until the child ends by itself (None) or passes a limit, which is named."""
    ends, state = time.monotonic() + limits.seconds, psutil.Process(child.pid)
    while True:
        with suppress(subprocess.TimeoutExpired):
            child.wait(LOOK_SECONDS)
            return None
        pulse()
        if time.monotonic() > ends:
            return f"{limits.seconds:.0f} s"
        with suppress(psutil.Error):  # it ended a moment ago
            if limits.memory is not None and state.memory_info().rss > limits.memory:
                return f"{limits.memory / 2**30:.1f} GiB of memory"


def _limit_cpu(pid: int, seconds: float) -> None:
    """So that it ends even if the process that waits for it dies. Where the system can set that for another process: Linux."""
    import resource

    if hasattr(resource, "prlimit"):
        most = int(seconds * (os.cpu_count() or 1)) + 1
        with suppress(OSError):
            resource.prlimit(pid, resource.RLIMIT_CPU, (most, most))


def _environment() -> Mapping[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(REPO), os.environ.get("PYTHONPATH"))))}


def _text(file: BinaryIO) -> str:
    return file.read().decode("utf-8", "replace")

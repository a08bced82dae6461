"""Which process is which, whether it lives, and how one is set going: what jobs ask of the operating system. Knows no store.

A pid alone says little: a finished child stays as a zombie that `os.kill(pid, 0)` calls alive, and after a while its
number belongs to another process. Hence the start time beside every pid.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

from fda.home import REPO

_SUSPENDED = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)


def detached(command: Sequence[str], log: Path, home: Path) -> subprocess.Popen:
    """Start a command in a session of its own: no terminal, no pipe and no open file ties it to this process.

    What it says is added to `log`; `home` is its FDA_HOME. OSError if it cannot be started.
    """
    environment = os.environ | {"FDA_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            close_fds=True,
            cwd=REPO,  # `python -m fda…` finds the package here even where it is not installed
            env=environment,
        )


def start_time(pid: int) -> float:
    """When the process began; the same number for its whole life. psutil.NoSuchProcess if there is none.

    On Linux since boot, not since the epoch: psutil adds the boot time, which moves when the clock is set.
    """
    return psutil.Process(pid).create_time() - (psutil.boot_time() if psutil.LINUX else 0.0)


def is_alive(pid: int | None, started: float | None) -> bool:
    """Is there a process `pid` that began at `started` (see `start_time`) and has not ended? A zombie has ended."""
    if pid is None or started is None:
        return False
    try:
        return abs(start_time(pid) - started) < 0.05 and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def is_suspended(pid: int | None, started: float | None) -> bool:
    """Is it alive (see `is_alive`), but stopped by a signal or a debugger, so that it does nothing?"""
    try:
        return is_alive(pid, started) and psutil.Process(pid).status() in _SUSPENDED
    except psutil.NoSuchProcess:
        return False


def send_signal(pid: int, started: float | None, signum: signal.Signals) -> None:
    """Signal a worker and all processes it made, if it is alive and not this very process.

    A detached worker leads its session, so its process group is its own. One in the foreground shares its group with
    whatever script called it: there only the worker and its descendants are meant.
    """
    if pid == os.getpid() or not is_alive(pid, started):
        return
    with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
        if os.getsid(pid) == pid:
            os.killpg(pid, signum)
        else:
            worker = psutil.Process(pid)
            for process in [*worker.children(recursive=True), worker]:
                process.send_signal(signum)

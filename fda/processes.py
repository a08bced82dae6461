"""Start, identify, check and signal processes: what jobs need from the operating system. Knows no store.

A pid alone does not identify a process: a finished child stays as a zombie that `os.kill(pid, 0)` calls alive, and later the
number belongs to another process. So every pid is stored with its start time.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

from fda.child_limits import child_limits
from fda.home import REPO

_SUSPENDED = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)


def detached(command: Sequence[str], log: Path, home: Path) -> subprocess.Popen:
    """Start a command in a new session: it shares no terminal, pipe or open file with this process.

    Its output is appended to `log`; `home` is its FDA_HOME. OSError if it cannot be started, UserError as
    `child_limits`.
    """
    environment = os.environ | {"FDA_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    limit = child_limits()
    with log.open("ab") as file:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            close_fds=True,
            cwd=REPO,  # `python -m fda…` finds the package here even where it is not installed
            env=environment,
        )
    limit(child.pid)
    return child


def start_time(pid: int) -> float:
    """Return when the process started, constant during its life. psutil.NoSuchProcess if it does not exist.

    On Linux the time counts from boot: psutil adds the boot time, which moves when the clock is set.
    """
    return psutil.Process(pid).create_time() - (psutil.boot_time() if psutil.LINUX else 0.0)


def is_alive(pid: int | None, started: float | None) -> bool:
    """Whether the process `pid` that started at `started` (see `start_time`) is still running. A zombie is not."""
    if pid is None or started is None:
        return False
    try:
        return abs(start_time(pid) - started) < 0.05 and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def owner(pid: int) -> str | None:
    """Return the name of the user a process belongs to; None if it does not exist."""
    try:
        return psutil.Process(pid).username()
    except psutil.Error:
        return None


def is_suspended(pid: int | None, started: float | None) -> bool:
    """Whether the process is alive (see `is_alive`) but stopped by a signal or a debugger."""
    try:
        return is_alive(pid, started) and psutil.Process(pid).status() in _SUSPENDED
    except psutil.NoSuchProcess:
        return False


def send_signal(pid: int, started: float | None, signum: signal.Signals) -> None:
    """Signal a worker and its child processes, if the worker is alive and is not this process.

    A detached worker leads its session, so the signal goes to its process group. A foreground worker shares its group with the
    script that called it, so the signal goes to the worker and its descendants only.
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

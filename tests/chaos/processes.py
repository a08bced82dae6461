"""The processes that the kit starts and ends: workers and starters, forked from a server that has imported torch already.

A worker of the kit is that of `python -m fda.stages.worker` but for its import, which would take most of the time.
"""

import multiprocessing
import multiprocessing.forkserver
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from fda.home import REPO
from fda.jobs import lifecycle
from fda.stages import worker
from fda.store.store import Store
from tests.chaos.deaths import Death, install

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(
    ["tests.chaos.processes", "fda.stages.execute", "fda.zoos.survey", "datasets", "open_clip"]
)
Process = multiprocessing.context.ForkServerProcess


def start_fork_server() -> None:
    """Start it in the folder that holds `fda` and `tests`, with its socket where pytest does not clear up before it ends."""
    folder, temporary = Path.cwd(), tempfile.tempdir
    os.chdir(REPO)
    tempfile.tempdir = "/tmp"
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        os.chdir(folder)
        tempfile.tempdir = temporary


def start_worker(store: Store, run_id: str, death: Death | None = None, clock: float = 0.0) -> Process:
    """A worker of a queued run. `clock`: seconds by which its wall clock jumps at every other look."""
    return _start(_work, store.home, run_id, death, clock)


def start_starter(store: Store, action: str, argument: object, death: Death | None) -> Process:
    """A process that does this action of `fda.jobs.lifecycle` and, if it launches a worker, starts none."""
    return _start(_act, store.home, action, argument, death)


def _start(target: Callable, *arguments: object) -> Process:
    process = _forks.Process(target=target, args=arguments)
    process.start()
    return process


def _work(home: Path, run_id: str, death: Death | None, clock: float) -> None:
    _become(home, Store(home).run_dir(run_id) / "log.txt")
    install(death, home / "writers")
    if clock:
        _shake_clock(clock)
    os._exit(worker.main(run_id))


def _act(home: Path, action: str, argument: object, death: Death | None) -> None:
    _become(home, home / "starter.log")
    lifecycle._spawn = lambda store, run_id: None
    install(death, home / "writers")
    words = {"now": True} if action == "delete" else {}
    getattr(lifecycle, action)(Store(home), argument, **words)
    os._exit(0)


def _become(home: Path, log: Path) -> None:
    """What `fda.processes.detached` does for a process of its own."""
    os.setsid()
    os.environ["FDA_HOME"] = str(home)
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.stdout.reconfigure(line_buffering=True)


def _shake_clock(seconds: float) -> None:
    import time

    real, looks = time.time, iter(range(1 << 62))
    time.time = lambda: real() + (seconds if next(looks) % 2 else -seconds)

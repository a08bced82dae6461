"""The life of one run's process: `python -m fda.stages.worker RUN_ID`, or `run_here` in the foreground.

Claim the run, beat, wait for the device, work, say how it ended. What the work is, `execute.py` knows; it is imported
only when the device is free, for it brings torch along.
"""

import contextlib
import faulthandler
import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

from fda.errors import UserError
from fda.interpreter import begin, leave
from fda.jobs.failures import log_traceback, sentence
from fda.jobs.heart import Heart
from fda.jobs.lifecycle import reconcile
from fda.jobs.processes import start_time
from fda.jobs.stopped import Stopped
from fda.store.store import ACTIVE, State, Store

Execute = Callable[[Store, str, Callable[[], bool]], None]

QUEUE_SECONDS = 0.5  # how often a waiting worker looks whether it is its turn
RECONCILE_SECONDS = 5.0  # and whether the run before it has died, with no page open to notice


def main(run_id: str, *, execute: Execute | None = None) -> int:
    """Carry out a queued run of FDA_HOME; the exit code: 0 done or stopped, 1 failed, 2 no such run."""
    faulthandler.enable()
    begin()
    try:
        return 0 if run_here(Store(), run_id, execute=execute) in ("done", "cancelled") else 1
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


def run_here(store: Store, run_id: str, *, execute: Execute | None = None) -> State:
    """Carry out a queued run in this process and return the state it ended in. Progress is in the store.

    SIGTERM and Ctrl-C stop it as the store's flag does; a second Ctrl-C does not wait for the next step.
    `execute` stands in for `fda.stages.execute.execute`.
    """
    store.claim_process(run_id, os.getpid(), start_time(os.getpid()))
    stop = threading.Event()
    with contextlib.ExitStack() as held:  # all of it, the device above all, until the final state is written
        held.enter_context(store.held_open())
        held.enter_context(_stop_on_signals(stop))
        held.enter_context(Heart(store, run_id, stop))
        state, message = _outcome(store, run_id, execute, stop, held)
        _finish(store, run_id, state, message)
    return store.run(run_id).state


def _outcome(
    store: Store, run_id: str, execute: Execute | None, stop: threading.Event, held: contextlib.ExitStack
) -> tuple[State, str | None]:
    """Wait for the device and work; the final state and its sentence, whatever happens."""
    try:
        held.enter_context(_device(store, run_id, stop))
        if execute is None:
            from fda.stages.execute import execute
        if stop.is_set():
            raise Stopped
        execute(store, run_id, stop.is_set)
    except (Stopped, KeyboardInterrupt):
        return "cancelled", None
    except UserError as error:
        return "failed", str(error)
    except BaseException as error:
        log_traceback(store, run_id)
        return "failed", sentence(error, store, run_id)
    return "done", None


@contextlib.contextmanager
def _device(store: Store, run_id: str, stop: threading.Event) -> Iterator[None]:
    """Wait for this run's turn, mark it running and hold its device. Stopped if it is stopped while it waits."""
    reconciled = time.monotonic()
    with store.open_lock(f"device-{store.run(run_id).device}") as lock:
        while not (store.queue_position(run_id) == 1 and _locked(lock.fileno())):
            if stop.wait(QUEUE_SECONDS):
                raise Stopped
            if time.monotonic() - reconciled > RECONCILE_SECONDS:
                reconcile(store)
                reconciled = time.monotonic()
        if not store.set_state(run_id, "running", only_from=("queued",)):
            raise Stopped
        yield


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _finish(store: Store, run_id: str, state: State, message: str | None) -> None:
    """Write the final state, unless the run is another worker's by now; again and again while the disk is full."""
    for wait in (1, 1, 2, 4, None):
        try:
            if store.beat(run_id, os.getpid()):
                store.set_state(run_id, state, message, only_from=ACTIVE)
            return
        except UserError:
            if wait is None:
                raise
            time.sleep(wait)


@contextlib.contextmanager
def _stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set `stop` while the body runs; a second SIGINT is a KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may
        yield
        return

    def handle(signum: int, _: object) -> None:
        if signum == signal.SIGINT and stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {signum: signal.signal(signum, handle) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


if __name__ == "__main__":
    leave(main(sys.argv[1]))

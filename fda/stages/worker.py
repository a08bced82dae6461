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
from pathlib import Path

from fda.actor import Actor, acting_as, system_user
from fda.atomic import unfinished_files
from fda.cancel import Cancel, Cancelled
from fda.errors import UserError
from fda.interpreter import begin, leave
from fda.jobs.beats import Beats
from fda.jobs.failures import log_traceback, sentence
from fda.jobs.heart import BEAT_SECONDS, Heart
from fda.jobs.lifecycle import press_on, settle, start
from fda.jobs.patient import PatientStore
from fda.jobs.reserve import Reserve
from fda.processes import start_time
from fda.requests.landscape import coarse_landscape_spec
from fda.stages.phases import begin_phases
from fda.store.refusals import StoreBusy
from fda.store.spec import RunSpec
from fda.store.store import ACTIVE, IO_QUEUE, State, Store

Execute = Callable[[Store, str, Cancel], None]

IO_RUNS = 4  # runs of the queue `io` that work side by side
QUEUE_SECONDS = 0.5  # how often a waiting worker looks whether it is its turn
SETTLE_SECONDS = 5.0  # and whether the run before it has died, with no page open to notice


def main(run_id: str, *, execute: Execute | None = None) -> int:
    """Carry out a queued run of FDA_HOME; the exit code: 0 done or stopped, 1 failed, 2 no such run."""
    faulthandler.enable()
    begin()
    store = Store()
    try:
        state = run_here(store, run_id, execute=execute)
        if state == "done":
            _start_landscape(store, run_id)
        if state == "failed":
            print(f"fda: {store.run(run_id).message}", file=sys.stderr)  # the last line of log.txt
        return 0 if state in ("done", "cancelled") else 1
    except UserError as error:
        print(f"fda: {error}", file=sys.stderr)
        return 2


def _start_landscape(store: Store, run_id: str) -> None:
    """Queue the coarse landscape that the run asked for, unless it is there already. What prevents it is in the log."""
    run = store.run(run_id)
    if not run.spec.coarse_landscape:
        return
    try:
        spec = coarse_landscape_spec(store, run_id)
        if all(other.spec != spec for other in store.runs(kinds=("landscape",))):
            with acting_as(Actor(run.started_by or system_user().name, "admin")):  # it is their landscape
                start(store, spec)
    except UserError as error:
        print(f"fda: no landscape: {error}", file=sys.stderr)


def run_here(store: Store, run_id: str, *, execute: Execute | None = None) -> State:
    """Carry out a queued run in this process and return the state it ended in. Progress is in the store.

    SIGTERM and Ctrl-C stop it as the store's flag does; a second Ctrl-C does not wait for the next step.
    `execute` stands in for `fda.stages.execute.execute`.
    """
    stop = threading.Event()
    with contextlib.ExitStack() as held:  # all of it, the device above all, until the final state is written
        held.enter_context(_stop_on_signals(stop))
        store.stored(run_id)  # there is such a run
        beats = Beats(store.run_dir(run_id))
        held.callback(beats.end)
        _claim(store, run_id, stop, beats)
        _clear(store.run_dir(run_id))
        held.enter_context(Heart(store, run_id, stop, beats))
        reserve = held.enter_context(Reserve(store.run_dir(run_id)))
        patient = PatientStore(store, stop)
        state, message = _outcome(patient, run_id, execute, stop, held)
        state, message = _written(patient, state, message)
        _finish(store, run_id, state, message, reserve)
    return store.stored(run_id).state


def _claim(store: Store, run_id: str, stop: threading.Event, beats: Beats) -> None:
    """Take the run, however long the store is busy, and beat: not before, for the run may be another worker's."""
    while True:
        try:
            store.waiting(BEAT_SECONDS).claim_process(run_id, os.getpid(), start_time(os.getpid()))
            return beats.beat()
        except StoreBusy:
            if stop.is_set():
                raise
            beats.beat()  # while it waits, so that it is not taken for a worker that never started


def _clear(folder: Path) -> None:
    """Remove what an earlier worker of the run was writing when it was killed: a merged model may have gigabytes."""
    for path in unfinished_files(folder):
        with contextlib.suppress(OSError):
            path.unlink()


def _outcome(
    store: PatientStore, run_id: str, execute: Execute | None, stop: threading.Event, held: contextlib.ExitStack
) -> tuple[State, str | None]:
    """Wait for the device and work; the final state and its sentence, whatever happens."""
    try:
        held.enter_context(_device(store, run_id, stop))
        begin_phases(store, run_id)
        if execute is None:
            execute = _work_of(store.run(run_id).spec)
        if stop.is_set():
            raise Cancelled
        execute(store, run_id, Cancel(stop.is_set))
    except (Cancelled, KeyboardInterrupt):
        return "cancelled", None
    except UserError as error:
        return "failed", str(error)
    except BaseException as error:
        log_traceback(store, run_id)
        return "failed", sentence(error, store, run_id)
    return "done", None


def _work_of(spec: RunSpec) -> Execute:
    if spec.helper is not None:
        from fda.stages.helpers import execute  # without torch
    else:
        from fda.stages.execute import execute
    return execute


@contextlib.contextmanager
def _device(store: Store, run_id: str, stop: threading.Event) -> Iterator[None]:
    """Wait for this run's turn, mark it running and hold its device, or one of the places of the queue `io`.

    Cancelled if it is stopped while it waits.
    """
    settled, asked = time.monotonic(), {}
    queue = store.run(run_id).device
    names = [queue] if queue != IO_QUEUE else [f"{queue}-{index}" for index in range(IO_RUNS)]
    with contextlib.ExitStack() as opened:
        locks = [opened.enter_context(store.open_lock(f"device-{name}")) for name in names]
        while not (store.queue_position(run_id) == 1 and any(_locked(lock.fileno()) for lock in locks)):
            if stop.wait(QUEUE_SECONDS):
                raise Cancelled
            if time.monotonic() - settled > SETTLE_SECONDS:
                settle(store)
                press_on(store, asked)
                settled = time.monotonic()
        while True:
            with contextlib.suppress(StoreBusy):
                if not store.set_state(run_id, "running", only_from=("queued",)):
                    raise Cancelled
                break
            if stop.is_set():
                raise Cancelled
        yield


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _written(store: PatientStore, state: State, message: str | None) -> tuple[State, str | None]:
    """The outcome once the work's last numbers are in the store; another one if there is no room for them."""
    try:
        store.write_all()
    except Cancelled:
        return ("cancelled", None) if state == "done" else (state, message)
    except UserError as error:
        return ("failed", str(error)) if state == "done" else (state, message)
    return state, message


def _finish(store: Store, run_id: str, state: State, message: str | None, reserve: Reserve) -> None:
    """Write the final state, unless the run is another worker's by now.

    As often as it takes while the store is busy, a few times while its disk is full, for which the reserve makes room.
    """
    waits = iter((0, 1, 1, 2, 4))
    while True:
        try:
            if store.beat(run_id, os.getpid()):
                store.set_state(run_id, state, message, only_from=ACTIVE)
            return
        except StoreBusy:
            time.sleep(1)
        except UserError:
            reserve.give()
            if (wait := next(waits, None)) is None:
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

"""Starting, stopping and resuming runs, and telling which of them are still alive. For pages and the command line.

A run is a detached process (`worker.py`) that outlives the browser and the server; all that ties them is the store.
Nobody watches over it in the background: whoever looks at runs calls `reconcile` first. Imports no torch.
"""

import fcntl
import signal
import subprocess
import sys
import time

from fda.errors import UserError
from fda.jobs.processes import detached, is_alive, send_signal
from fda.store.spec import RunSpec
from fda.store.store import ACTIVE, Run, State, Store

__all__ = ["is_alive", "may_resume", "reconcile", "reopen", "resume", "start", "stop", "stop_and_wait"]

FRESH_SECONDS = 10  # a heart beats every 2 s; a busy machine may hold it up
START_SECONDS = 30  # from the queue to the first sign of life; measured: under 1 s
TERM_SECONDS = 5  # stopping runs end at their next optimiser step; after this they are asked by signal
KILL_SECONDS = 10  # and after this they are not asked

_workers: dict[str, subprocess.Popen] = {}  # children of this process, polled so that none stays a zombie


def start(store: Store, spec: RunSpec) -> str:
    """Queue a run and start its worker; the run's id. A worker that cannot be started leaves a failed run.

    UserError if an active run has the very same spec: a second click on Start.
    """
    reconcile(store)
    with store.open_lock("start") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for run in store.runs(states=ACTIVE):
            if run.spec == spec:
                raise UserError(
                    f"Run {run.run_id} does exactly this already and is {run.state}: watch it, or stop it first."
                )
        run_id = store.create_run(spec)
    _spawn(store, run_id)
    return run_id


def stop(store: Store, run_id: str) -> None:
    """Ask a run to stop and return at once; `reconcile` sees it through. A queued run is cancelled at once.

    UserError if it ended already.
    """
    reconcile(store)
    state = store.run(run_id).state
    if state not in ACTIVE:
        raise UserError(f"Run {run_id} is {state}: there is nothing to stop.")
    store.request_stop(run_id)


def stop_and_wait(store: Store, run_id: str, timeout: float = 20.0) -> State:
    """Stop a run, by force if it must be, and return the state it ended in (`stopping` if not within `timeout` s)."""
    stop(store, run_id)
    end = time.monotonic() + timeout
    while (state := store.run(run_id).state) in ACTIVE and time.monotonic() < end:
        time.sleep(0.2)
        reconcile(store)
    return state


def may_resume(store: Store, run_id: str) -> None:
    """UserError that says why if the run cannot be resumed."""
    reconcile(store)
    state = store.run(run_id).state
    if state in ACTIVE:
        raise UserError(f"Run {run_id} is {state} already: watch it, or stop it first.")
    if state == "done":
        raise UserError(f"Run {run_id} is done: there is nothing left to resume.")


def reopen(store: Store, run_id: str) -> None:
    """Put a run that ended early back into the queue, for a worker that the caller provides. UserError as `may_resume`.

    A worker taken for crashed that still exists (hung, suspended) is ended first: it would hold the device.
    """
    may_resume(store, run_id)
    run = store.run(run_id)
    if run.pid is not None:
        send_signal(run.pid, run.pid_started, signal.SIGKILL)
    if not store.requeue(run_id):  # another was faster
        may_resume(store, run_id)


def resume(store: Store, run_id: str) -> None:
    """Go on with a cancelled, crashed or failed run from its finished units. UserError as `may_resume`."""
    reopen(store, run_id)
    _spawn(store, run_id)


def reconcile(store: Store) -> None:
    """Make the states of active runs true: mark those whose process is gone, and press those that will not stop.

    Cheap: call it before showing runs. Any number of processes may, at the same time.
    """
    active = store.runs(states=ACTIVE, limit=10_000)
    for run in active:
        if run.state == "stopping":
            _press(store, run)
        elif (message := _death(store, run)) is not None:
            store.set_state(run.run_id, "crashed", message, only_from=(run.state,))
    still = {run.run_id for run in active}
    for run_id, child in list(_workers.items()):
        if child.poll() is not None and run_id not in still:
            _workers.pop(run_id, None)


def _press(store: Store, run: Run) -> None:
    """A stopping run: cancelled once its process is gone, signalled if that takes long."""
    waited = time.time() - (run.stop_requested or 0)
    if not is_alive(run.pid, run.pid_started):
        message = "ended by force: the unit it was at starts anew on resume." if waited > TERM_SECONDS else None
        store.set_state(run.run_id, "cancelled", message, only_from=("stopping",))
    elif waited > KILL_SECONDS:
        send_signal(run.pid, run.pid_started, signal.SIGKILL)
    elif waited > TERM_SECONDS:
        send_signal(run.pid, run.pid_started, signal.SIGTERM)


def _death(store: Store, run: Run) -> str | None:
    """Why a queued or running run must be taken for crashed; None if it lives."""
    now = time.time()
    go_on = "resume continues from the finished units."
    if run.pid is None:
        child = _workers.get(run.run_id)
        if child is not None and child.poll() is not None:
            ended = f"ended at once with exit code {child.returncode}"
        elif now - (run.queued or run.created) > START_SECONDS:
            ended = f"did not start within {START_SECONDS} s"
        else:
            return None
        return f"the worker process {ended} (see {store.run_dir(run.run_id) / 'log.txt'}); {go_on}"
    silent = now - (run.heartbeat or 0)
    if not is_alive(run.pid, run.pid_started):
        return f"the worker process ended without a word (heartbeat lost {silent:.0f} s ago); {go_on}"
    if silent > FRESH_SECONDS:
        return f"the worker process gives no sign of life (heartbeat lost {silent:.0f} s ago); {go_on}"
    return None


def _command(run_id: str) -> list[str]:
    return [sys.executable, "-m", "fda.stages.worker", run_id]


def _spawn(store: Store, run_id: str) -> None:
    """Start a worker that outlives this process."""
    try:
        _workers[run_id] = detached(_command(run_id), store.run_dir(run_id) / "log.txt", store.home)
    except OSError as error:
        message = f"the worker process could not be started ({error.strerror}): mend that and resume."
        store.set_state(run_id, "failed", message, only_from=("queued",))

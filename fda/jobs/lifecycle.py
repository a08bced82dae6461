"""Starting, stopping and resuming runs, for pages and the command line.

A run is a detached process (`fda.stages.worker`) that outlives the browser and the server; only the store connects them.
`liveness.py` reads the true state of a run; every action here also corrects the stored states (`settle`). A stop that is not
obeyed is followed by signals, timed by the monotonic clock of the process that asked. Imports no torch.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Literal

from fda.actor import acting_as, actor
from fda.errors import UserError
from fda.jobs.gate import permit, require_room
from fda.jobs.liveness import LiveStore, go_on, verdict
from fda.processes import detached, is_alive, send_signal
from fda.store.deletion import UNDO_SECONDS
from fda.store.finished import files_to_make_again
from fda.store.records import ACTIVE, KINDS, Run, State, StoredRun
from fda.store.refusals import StoreBusy
from fda.store.spec import RunSpec
from fda.store.store import Store

__all__ = [
    "delete",
    "describe",
    "is_alive",
    "may_resume",
    "move",
    "purge",
    "reopen",
    "resume",
    "settle",
    "start",
    "stop",
    "stop_and_wait",
    "undelete",
]

TERM_SECONDS = 5  # a stopping run ends at its next optimiser step; after this it gets SIGTERM
KILL_SECONDS = 10  # …, then SIGKILL
LOCK_SECONDS = 0.5  # for writes that can wait
MANY = 10_000  # runs


class AtWork(UserError):
    """The very same request is at work already, as the run `run_id`."""

    def __init__(self, run: Run) -> None:
        super().__init__(f"Run {run.run_id} does exactly this already and is {run.state}: watch it, or stop it first.")
        self.run_id = run.run_id


_workers: dict[str, subprocess.Popen] = {}  # children of this process, polled so that none stays a zombie


def start(store: Store, spec: RunSpec) -> str:
    """Queue a run and start its worker; the run's id. A worker that cannot be started leaves a failed run.

    AtWork if an active run has the very same spec: a second click on Start. UserError as `gate.permit`, `gate.require_room`.
    """
    permit("start")
    settle(store)
    with store.open_lock("start") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for run in LiveStore(store.home).runs(states=ACTIVE, kinds=KINDS):
            if run.spec == spec:
                raise AtWork(run)
        require_room(store, spec.kind)
        run_id = store.create_run(spec)
    _spawn(store, run_id)
    return run_id


def stop(store: Store, run_id: str) -> None:
    """Ask a run to stop and return at once; a thread of this process sees it through. A queued run is cancelled at once.

    UserError if it ended already.
    """
    _ask_to_stop(store, run_id)
    who = actor()

    def see_through() -> None:
        with acting_as(who):
            _see_through(store, run_id)

    threading.Thread(target=see_through, name=f"stop {run_id}", daemon=True).start()


def stop_and_wait(store: Store, run_id: str, timeout: float = 20.0) -> State:
    """Stop a run, by force if need be, and return the state it ended in (`stopping` if not within `timeout` s)."""
    _ask_to_stop(store, run_id)
    _see_through(store, run_id, timeout)
    return LiveStore(store.home).stored(run_id).state


def may_resume(store: Store, run_id: str) -> None:
    """UserError that says why if the run cannot be resumed. One that is done can, if files of it are lost or damaged."""
    run = LiveStore(store.home).run(run_id)
    if run.state in ACTIVE:
        raise UserError(f"Run {run_id} is {run.state} already: watch it, or stop it first.")
    if run.state == "done" and not files_to_make_again(store, run):
        raise UserError(f"Run {run_id} is done: there is nothing left to resume.")


def reopen(store: Store, run_id: str) -> None:
    """Put a run that ended early back into the queue; the caller provides the worker. UserError as `may_resume`.

    A worker that counts as crashed but still exists (hung, suspended) is killed first: it would hold the device, and perhaps
    the store.
    """
    run = store.run(run_id)
    permit("resume", run)
    may_resume(store, run_id)
    require_room(store, run.kind)
    if run.pid not in (None, os.getpid()):
        send_signal(run.pid, run.pid_started, signal.SIGKILL)
        _wait_until_gone(run)
    settle(store, patience=store.patience)
    if not store.requeue(run_id, ended=("failed", "cancelled", "crashed", "done")):  # another was faster
        may_resume(store, run_id)


def resume(store: Store, run_id: str) -> None:
    """Continue a cancelled, crashed or failed run from its finished units. UserError as `may_resume`."""
    reopen(store, run_id)
    _spawn(store, run_id)


def delete(store: Store, run_id: str, *, now: bool = False) -> None:
    """Delete a run that is not at work, whether or not its row can be read. UserError if it is at work.

    `undelete` brings it back for UNDO_SECONDS; then a thread of this process removes its files, or if that has ended, the next
    action does. `now`: remove them at once.
    """
    permit("delete", store.stored(run_id))
    settle(store)
    if now:
        store.delete_run(run_id)
        return
    store.mark_deleted(run_id)
    timer = threading.Timer(UNDO_SECONDS, purge, (store,))
    timer.daemon = True
    timer.start()


def undelete(store: Store, run_id: str) -> None:
    """Bring back a deleted run. UserError if its files are gone."""
    permit("undelete", store.deleted(run_id))
    store.undelete(run_id)


def purge(store: Store) -> None:
    """Remove the files of runs whose time to be brought back is over. If that fails, the next action tries again."""
    with contextlib.suppress(UserError):
        Store(store.home, patience=LOCK_SECONDS).purge()


def describe(store: Store, run_id: str, **changes: Any) -> None:
    """Change a run's name, note and tags: `changes` as of `Store.describe`."""
    permit("describe", store.stored(run_id))
    store.describe(run_id, **changes)


def move(store: Store, run_id: str, places: Literal[-1, 1]) -> None:
    """Move a queued run one place forward (-1) or back (1) in its queue. UserError if it is not queued or already there."""
    permit("move", store.stored(run_id))
    settle(store)
    if not store.move_in_queue(run_id, places):
        run = LiveStore(store.home).stored(run_id)
        if run.state != "queued":
            raise UserError(f"Run {run_id} is {run.state}: only a queued run can be moved.")
        raise UserError(
            f"Run {run_id} is the {'first' if places < 0 else 'last'} in the queue of {run.device} already."
        )


def settle(store: Store, *, patience: float = LOCK_SECONDS) -> None:
    """Store the true states of active runs: those whose process is gone, and those whose worker never started.

    Every action calls this; any number of processes may do so at once. If the store is busy, the next action does it; readers
    get the true state from `LiveStore` meanwhile.
    """
    rows = store.all_stored(states=ACTIVE, limit=MANY)
    quick = Store(store.home, patience=patience)
    for run in rows:
        if (ended := _ended_at_once(store, run) or verdict(run, store.home)) is not None:
            try:
                quick.set_state(run.run_id, *ended, only_from=(run.state,))
            except StoreBusy:
                break
    purge(store)
    active = {run.run_id for run in rows}
    for run_id, child in list(_workers.items()):
        if child.poll() is not None and run_id not in active:
            _workers.pop(run_id, None)


def press(run: StoredRun, waited: float) -> None:
    """Signal a worker that was asked to stop `waited` seconds ago and has not. A suspended one is woken for it."""
    if run.pid is None:
        return
    if waited > KILL_SECONDS:
        send_signal(run.pid, run.pid_started, signal.SIGKILL)
    elif waited > TERM_SECONDS:
        send_signal(run.pid, run.pid_started, signal.SIGTERM)
        send_signal(run.pid, run.pid_started, signal.SIGCONT)


def press_on(store: Store, since: dict[tuple[str, int], float]) -> None:
    """Press every stopping run. `since`: when the caller first saw each stop, by its monotonic clock; updated here."""
    for run in store.all_stored(states=("stopping",), limit=MANY):
        first = since.setdefault((run.run_id, run.attempt), time.monotonic())
        press(run, time.monotonic() - first)


def _ask_to_stop(store: Store, run_id: str) -> None:
    """Set the run's stop flag; if the store is busy, send the worker SIGTERM, which means the same."""
    run = LiveStore(store.home).stored(run_id)
    permit("stop", run)
    if run.state not in ACTIVE and not _hangs(run):
        raise UserError(f"Run {run_id} is {run.state}: there is nothing to stop.")
    try:
        store.waiting(LOCK_SECONDS).request_stop(run_id)
    except StoreBusy:
        if run.pid is None:
            raise
        send_signal(run.pid, run.pid_started, signal.SIGTERM)
        send_signal(run.pid, run.pid_started, signal.SIGCONT)


def _hangs(run: StoredRun) -> bool:
    """Does it count as crashed because its worker is silent, though the process exists and may hold the device or the store?"""
    return run.state == "crashed" and is_alive(run.pid, run.pid_started)


def _see_through(store: Store, run_id: str, timeout: float = KILL_SECONDS + 10.0) -> None:
    """Press a run that was asked to stop until it has ended, or for `timeout` seconds."""
    began, shown = time.monotonic(), LiveStore(store.home)
    with contextlib.suppress(UserError):  # deleted meanwhile, or the store cannot be read any more
        while (waited := time.monotonic() - began) < timeout:
            with contextlib.suppress(StoreBusy):
                store.waiting(0.1).request_stop(run_id)
            run = shown.stored(run_id)
            if run.state not in ACTIVE and not _hangs(run):
                break
            press(run, waited)
            time.sleep(0.2)
        settle(store)


def _wait_until_gone(run: Run, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while is_alive(run.pid, run.pid_started) and time.monotonic() < end:
        time.sleep(0.02)


def _ended_at_once(store: Store, run: StoredRun) -> tuple[State, str] | None:
    """The verdict on a worker that this process started and that ended before it claimed its run."""
    child = _workers.get(run.run_id)
    if run.pid is not None or child is None or child.poll() is None:
        return None
    log = store.run_dir(run.run_id) / "log.txt"
    return "crashed", f"the worker process ended at once with exit code {child.returncode} (see {log}); {go_on(run)}"


def _command(run_id: str) -> list[str]:
    return [sys.executable, "-m", "fda.stages.worker", run_id]


def _spawn(store: Store, run_id: str) -> None:
    """Start a worker that outlives this process."""
    try:
        _workers[run_id] = detached(_command(run_id), store.run_dir(run_id) / "log.txt", store.home)
    except (OSError, UserError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
        message = f"the worker process could not be started ({why}): mend that and resume."
        store.set_state(run_id, "failed", message, only_from=("queued",))

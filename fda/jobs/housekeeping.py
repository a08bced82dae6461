"""The store against the files of FDA_HOME: every difference as a finding, most with the function that mends it.

Nothing that a run owns is deleted: what is damaged or nobody's is moved to FDA_HOME/lost, and a finished run is resumed to make
lost files again. Runs at work are left alone.
"""

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
from pydantic import ValidationError

from fda.atomic import unfinished_files, write_text
from fda.errors import UserError, readable
from fda.jobs.beats import last_beat
from fda.jobs.lifecycle import resume, settle
from fda.jobs.liveness import LiveStore, verdict
from fda.processes import is_alive, is_suspended
from fda.store.database import RUN_ID
from fda.store.files import anchors_file
from fda.store.finished import MADE_BY_RESUME, damaged_files
from fda.store.records import ACTIVE, Run, StoredRun, UnreadableRun
from fda.store.spec import RunSpec
from fda.store.store import ALL, Store

WAIT_SECONDS = 1.0  # in which a worker that ends has released its device
OF_WORKERS = ("heartbeat", ".reserve")  # what a worker leaves in its run's folder if it is killed


@dataclass(frozen=True)
class Finding:
    """One check: whether all is well, its result in a sentence, and what mends it, which says in a sentence what it did."""

    good: bool
    text: str
    mend: Callable[[], str] | None = None


def differences(store: Store) -> Iterator[Finding]:
    """Check the store against the files, lazily: a difference that is mended at once is not found again in another form."""
    yield from _dead_workers(store)
    yield from _orphaned_rows(store)
    yield from _half_deleted(store)
    yield from _ownerless(store)
    for run in store.all_stored(limit=ALL):
        yield from _run(store, run)
    yield from _leftovers(store)
    yield from _held_locks(store)


# runs ----------------------------------------------------------------------------------------------------------------


def _dead_workers(store: Store) -> Iterator[Finding]:
    for run in store.all_stored(states=ACTIVE, limit=ALL):
        if (ended := verdict(run, store.home)) is not None and not is_suspended(run.pid, run.pid_started):

            def mend(run: StoredRun = run, state: str = ended[0]) -> str:
                settle(store, patience=store.patience)
                return f"run {run.run_id} is stored as {state}."

            yield Finding(False, f"run {run.run_id} is stored as {run.state}, but {ended[1]}", mend)


def _orphaned_rows(store: Store) -> Iterator[Finding]:
    if orphans := store.orphans():
        counts = ", ".join(f"{count} of {table}" for table, count in orphans.items())

        def mend() -> str:
            store.delete_orphans()
            return f"rows that belong to no run are removed from {store.path} ({counts})."

        yield Finding(False, f"{store.path} has rows that belong to no run ({counts}): --repair removes them.", mend)


def _half_deleted(store: Store) -> Iterator[Finding]:
    for folder in sorted((store.home / "runs").glob(".*.deleted")):
        if not RUN_ID.fullmatch(folder.name[1 : -len(".deleted")]):
            continue

        def mend(folder: Path = folder) -> str:
            store.purge()
            return f"the deletion that left {folder} is completed, or undone where it had not been recorded."

        yield Finding(False, f"{folder} is left of a deletion that was interrupted: --repair ends it.", mend)


def _ownerless(store: Store) -> Iterator[Finding]:
    """Folders in runs/ without a row, out of which no run can be listed."""
    for folder in sorted((store.home / "runs").glob("[!.]*")):
        if not _is_ownerless(store, folder):
            continue

        def mend(folder: Path = folder) -> str:
            with store.write_locked():  # a run that is being created has its folder a moment before its row
                if not _is_ownerless(store, folder):
                    return f"{folder} belongs to a run now."
                return f"{folder} is kept as {_aside(store, folder)}."

        yield Finding(False, f"{folder} belongs to no run: --repair moves it to {store.home / 'lost'}.", mend)


def _is_ownerless(store: Store, folder: Path) -> bool:
    if (
        folder.name == "lost+found"
        or not folder.is_dir()
        or (RUN_ID.fullmatch(folder.name) and _spec_in(folder) is not None)
    ):
        return False
    return not store.has_row(folder.name)


def _run(store: Store, run: Run | UnreadableRun) -> Iterator[Finding]:
    if isinstance(run, UnreadableRun):
        again = _spec_from_file(store, run.run_id)
        yield Finding(
            False, f"{run.problem}{' Or let --repair take its spec from its folder.' if again else ''}", again
        )
        return
    if is_suspended(run.pid, run.pid_started):
        remedy = f"let it go on (`kill -CONT {run.pid}`) or end it (`python -m fda runs stop {run.run_id}`)."
        yield Finding(False, f"process {run.pid} of run {run.run_id} is suspended: {remedy}")
    folder = store.run_dir(run.run_id)
    if (fault := _spec_fault(folder, run.spec)) is not None:

        def mend() -> str:
            with store.write_locked():  # else a run that is being deleted could be left a folder
                store.stored(run.run_id)
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_text(folder / "spec.json", run.spec.model_dump_json(indent=2) + "\n")
            return f"{folder / 'spec.json'} is written again from the store."

        yield Finding(False, f"{fault}: --repair writes it again from the store.", mend)
    if not LiveStore(store.home).stored(run.run_id).active:
        yield from _files(store, run)


def _files(store: Store, run: Run) -> Iterator[Finding]:
    """Damaged files of a run that is not at work. One resume makes all those of a finished run again that it can make."""
    folder, resumed = store.run_dir(run.run_id), False
    for path, fault in damaged_files(store, run.run_id, "content").items():
        if run.state == "done" and path.partition("/")[0] in MADE_BY_RESUME:
            again = f"`python -m fda runs resume {run.run_id}`, or --repair, makes it again."
            yield Finding(False, f"{folder / path} {fault}: {again}", None if resumed else lambda: _resumed(store, run))
            resumed = True
        else:  # nobody waits for it: a run that was stopped makes it again when it is resumed
            mend = partial(_forgotten, store, run.run_id, path)
            yield Finding(False, f"{folder / path} {fault}: --repair takes it out of the run.", mend)


def _resumed(store: Store, run: Run) -> str:
    try:
        resume(store, run.run_id)
    except UserError as error:
        return f"run {run.run_id} could not be resumed: {error}"
    return f"run {run.run_id} is in the queue of {run.device} again: its worker makes the damaged files again."


def _forgotten(store: Store, run_id: str, path: str) -> str:
    """Move a damaged file away and forget its record; the unit whose anchors it holds is to be done again."""
    file = store.run_dir(run_id) / path
    kept = f"is kept as {_aside(store, file)}" if file.exists() else "is forgotten"
    store.forget_file(run_id, path)
    for unit in store.units(run_id, "construct"):
        if unit.state == "done" and anchors_file(Path(), unit.key.name, unit.key.block) == Path(path):
            store.reset_unit(run_id, unit.key)
    return f"{file} {kept}."


def _spec_fault(folder: Path, spec: RunSpec) -> str | None:
    """What is wrong with a run's folder or its spec.json; None if it says what the store says."""
    if not folder.is_dir():
        return f"run {folder.name} has no folder"
    return None if _spec_in(folder) == spec else f"{folder / 'spec.json'} does not say what its run was asked"


def _spec_from_file(store: Store, run_id: str) -> Callable[[], str] | None:
    """What gives a row the spec of its folder, if that one is whole and the row's is not."""
    spec = _spec_in(store.run_dir(run_id)) if RUN_ID.fullmatch(run_id) else None
    if spec is None or _parsed(store.spec_text(run_id)) is not None:
        return None

    def mend() -> str:
        store.set_spec(run_id, spec)
        return f"run {run_id} has the spec of its folder again."

    return mend


def _spec_in(folder: Path) -> RunSpec | None:
    """The spec in a run's folder, if it can be read."""
    try:
        return _parsed((folder / "spec.json").read_bytes())
    except OSError:
        return None


def _parsed(text: str | bytes) -> RunSpec | None:
    try:
        return RunSpec.model_validate_json(text)
    except (ValidationError, ValueError, RecursionError):
        return None


# files that nobody owns ----------------------------------------------------------------------------------------------


def _leftovers(store: Store) -> Iterator[Finding]:
    """Unfinished files of processes that were killed, and what their workers kept in their folders."""
    for path in unfinished_files(store.home):
        yield Finding(
            False,
            f"{path} was left by a process that was killed: --repair removes it.",
            lambda path=path: _removed(path),
        )
    at_work = {run.run_id for run in LiveStore(store.home).all_stored(states=ACTIVE, limit=ALL)}
    for folder in sorted((store.home / "runs").glob("*")):
        beat = last_beat(folder)
        if folder.name in at_work or (beat is not None and is_alive(beat.pid, beat.pid_started)):
            continue  # also where a worker is only silent
        for path in (folder / name for name in OF_WORKERS):
            if path.exists():
                yield Finding(
                    False,
                    f"{path} was left by a worker that was killed: --repair removes it.",
                    lambda path=path: _removed(path),
                )


def _removed(path: Path) -> str:
    path.unlink(missing_ok=True)
    return f"{path} is removed."


def _aside(store: Store, path: Path) -> Path:
    """Move a file or folder of FDA_HOME to the same place below lost/; where it is now."""
    target = store.home / "lost" / path.relative_to(store.home)
    number = 1
    while target.exists():
        target, number = target.with_name(f"{path.name}-{number}"), number + 1
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.move(path, target)
    return target


def _held_locks(store: Store) -> Iterator[Finding]:
    """Locks of devices that a process holds which works at no run: no run of that device begins."""
    for path in sorted((store.home / "locks").glob("device-*.lock")):
        pid = _idle_holder(store, path)
        if pid is not None and _idle_holder(store, path, after=WAIT_SECONDS) == pid:  # not one that is just ending
            with suppress(psutil.Error):
                command = readable(" ".join(psutil.Process(pid).cmdline())[:80])
                yield Finding(
                    False, f"process {pid} ({command}) holds {path} without working at a run: end it (`kill {pid}`)."
                )


def _idle_holder(store: Store, path: Path, after: float = 0.0) -> int | None:
    time.sleep(after)
    try:
        with path.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = _holder(path.stat().st_ino)
        return None if pid in {run.pid for run in store.all_stored(states=ACTIVE, limit=ALL)} else pid
    except OSError:  # it cannot be opened
        pass
    return None


def _holder(inode: int) -> int | None:
    """The process that holds a lock on a file, by Linux's /proc/locks; None where that is not known."""
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    fields = (line.split() for line in lines if "->" not in line)
    return next((int(parts[4]) for parts in fields if parts[5].endswith(f":{inode}") and parts[4].isdigit()), None)

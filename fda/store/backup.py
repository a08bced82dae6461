"""A copy of FDA_HOME, made while runs may be at work. It is an FDA_HOME itself: to restore it, copy it to where that was.

The store is copied first, by SQLite's backup, as of one moment. Every file it names was whole by then, and files of runs are
never changed in place, so the copies of files agree with it. Runs that were at work are stored as cancelled in the copy, and
resume from the units finished by then. Caches, locks and what can be made again are left out.
"""

import os
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from fda.atomic import sync
from fda.errors import UserError
from fda.home import make_private
from fda.store.database import RUN_ID
from fda.store.finished import damaged_files
from fda.store.records import ACTIVE, State
from fda.store.refusals import readable_refusals
from fda.store.store import ALL, Store

AT_WORK = "was at work when this backup was made: resume continues from the units finished by then."


@dataclass(frozen=True)
class Backup:
    """What was copied: the number of runs, the bytes of the store and of runs' folders, and a sentence for each file of a run
    that differs from its checksum, as it then does in the original."""

    folder: Path
    runs: int
    bytes: int
    damaged: tuple[str, ...]


def back_up(store: Store, folder: Path) -> Backup:
    """Copy the store, the folders of its runs and the zoo files in `zoos` to `folder`, which appears whole or not at all.

    UserError if `folder` exists, lies in FDA_HOME or cannot be written, and if there are no runs.
    """
    folder = folder.expanduser().resolve()
    if folder.exists():
        raise UserError(f"{folder} is already there: name a folder that is not, such as one with the date.")
    if folder.is_relative_to(store.home):
        raise UserError(f"{folder} lies in {store.home} itself: choose another disk, or at least another folder.")
    if not store.path.exists():
        raise UserError(f"{store.home} has no runs yet: there is nothing to back up.")
    part = folder.with_name(f".{folder.name}.part")
    with readable_refusals(folder.parent, store.patience):
        shutil.rmtree(part, ignore_errors=True)
        try:
            make_private(part)
            copied = Store(part)
            _copy_store(store, copied)
            _copy_files(store, copied)
            made = _checked(store, copied, folder)
            sync(part)
            os.replace(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return made


def _copy_store(store: Store, copied: Store) -> None:
    copied.path.touch(mode=0o600)
    with closing(sqlite3.connect(store.path)) as source, closing(sqlite3.connect(copied.path)) as target:
        source.backup(target)  # in one step: in steps, each write of a worker would make it begin again
    copied.purge(seconds=0)  # the runs that are deleted; their folders are not copied
    for run_id in _runs(copied, ACTIVE):
        copied.set_state(run_id, "cancelled", AT_WORK)
    copied.forget_processes()  # a resume in the copy must not end the worker of the original


def _copy_files(store: Store, copied: Store) -> None:
    for run_id in _runs(copied):
        _copy_folder(store.run_dir(run_id), copied.run_dir(run_id))
    _copy_folder(store.home / "zoos", copied.home / "zoos")


def _copy_folder(source: Path, target: Path) -> None:
    """Copy all but files being written (their names begin with a dot) and the sign of life of a worker. A file that is removed
    meanwhile is left out."""
    for parent, folders, names in os.walk(source):
        folders[:] = [name for name in folders if not name.startswith(".")]
        there = target / Path(parent).relative_to(source)
        there.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in names:
            if name.startswith(".") or name == "heartbeat":
                continue
            try:
                shutil.copy2(os.path.join(parent, name), there / name, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if not (there / name).is_symlink():
                sync(there / name)


def _checked(store: Store, copied: Store, folder: Path) -> Backup:
    """Compare the copies with the checksums in the store, and delete the copy of a run that was deleted meanwhile."""
    damaged, total = [], copied.path.stat().st_size
    for run_id in _runs(copied):
        there = copied.run_dir(run_id)
        if not store.has_row(run_id):
            copied.delete_run(run_id)
            continue
        for path, fault in damaged_files(copied, run_id, "content").items():
            damaged.append(f"{store.run_dir(run_id) / path} {fault}")
        total += sum(path.stat().st_size for path in there.rglob("*") if path.is_file())
    return Backup(folder, len(_runs(copied)), total, tuple(damaged))


def _runs(store: Store, states: Sequence[State] | None = None) -> list[str]:
    """Ids of the runs in one of these states, or of all. Rows too damaged to hold an id are skipped: they have no folder."""
    return [run.run_id for run in store.all_stored(states=states, limit=ALL) if RUN_ID.fullmatch(run.run_id)]

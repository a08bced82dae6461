"""Finds and repairs faults of FDA_HOME: the store's file, the runs it lists, their finished files, and their permissions.

The store is rebuilt from the folders of runs: spec.json, and the anchors files, which record their loss and step. Curves and
scores are in the store alone: resuming a rebuilt run computes its scores again. `housekeeping.py` compares the store with the
files. Nothing that a run owns is deleted.
"""

import calendar
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path

from pydantic import ValidationError

from fda.errors import UserError
from fda.home import make_private
from fda.jobs.beats import last_beat
from fda.jobs.housekeeping import Finding, differences
from fda.processes import is_alive
from fda.store.database import RUN_ID
from fda.store.files import anchors_file
from fda.store.finished import damage, record_of
from fda.store.records import ACTIVE, KINDS
from fda.store.refusals import LEAST_COMFORTABLE, free_bytes
from fda.store.schema import SCHEMA_VERSION
from fda.store.spec import RunSpec
from fda.store.store import ALL, Store, UnitKey, queue_of

REBUILT = "listed anew by `python -m fda doctor --repair`: resume continues from the units whose anchors are whole."
MUCH_FREE = 16 << 20  # bytes of the store's file that hold nothing: less is not worth writing it anew


def examine(store: Store) -> Iterator[Finding]:
    """Check this FDA_HOME, from the folder to the last file. Writes nothing."""
    home = store.home
    if not home.is_dir():
        yield Finding(True, f"{home} is not there yet: the first run makes it.")
        return
    yield from _folder(home)
    usable = True
    for finding in _database(store):
        usable &= finding.good
        yield finding
    if usable:
        yield Finding(True, f"{len(store.runs(kinds=KINDS, limit=ALL))} runs can be read.")
        yield from differences(store)
        yield from _space(store)


def repair(store: Store) -> Iterator[str]:
    """Make the store usable again and list the runs it lacks; yields what was done, in sentences.

    A damaged file is moved aside, never deleted. UserError while a worker is at work, whose numbers would be lost.
    """
    was_open = store.home.is_dir() and store.home.stat().st_mode & 0o077
    _close_to_others(store.home)
    if was_open:
        yield f"{store.home} is closed to others."
    if store.fault() is not None:
        _refuse_while_at_work(store)
        for path in _move_aside(store):
            yield f"{path} is the damaged file, kept aside."
    store.create()
    with store.write_locked():  # else a run that is being created could have its folder and no row
        unlisted = store.unlisted()
    for run_id in reversed(unlisted):  # the newest first: each is listed before those that are
        folder = store.run_dir(run_id)
        try:
            spec = RunSpec.model_validate_json((folder / "spec.json").read_text(encoding="utf-8"))
        except (OSError, ValidationError, ValueError):
            continue  # no run can be made of it: see `differences`
        count = _list_anew(store, run_id, spec)
        yield f"run {run_id} ({spec.zoo.name}) is listed again with {count} finished units."
    for finding in chain(differences(store), _space(store)):  # each mended before the next is looked for
        if finding.mend is not None:
            yield finding.mend()


# checking ------------------------------------------------------------------------------------------------------------


def _folder(home: Path) -> Iterator[Finding]:
    free, writable = free_bytes(home), os.access(home, os.W_OK)
    yield Finding(writable, f"{home} can{'' if writable else 'not'} be written.")
    space = f"its disk has {free / 2**20:,.0f} MiB free"
    yield Finding(free >= LEAST_COMFORTABLE, f"{space}{': free some space' if free < LEAST_COMFORTABLE else ''}.")
    private = not home.stat().st_mode & 0o077
    yield Finding(private, "only its owner can read it." if private else "others can read it: --repair closes it.")


def _database(store: Store) -> Iterator[Finding]:
    """The file itself. The first finding that is not good says what is wrong."""
    if (fault := store.fault()) is not None:
        yield Finding(False, fault)
        return
    yield Finding(True, f"{store.path} is whole, schema {SCHEMA_VERSION}.")
    if lacking := store.unlisted():
        runs = f"run {lacking[0]}" if len(lacking) == 1 else f"{len(lacking)} runs of runs/, such as {lacking[0]}"
        yield Finding(False, f"{store.path} does not list {runs}: `python -m fda doctor --repair` does.")
    yield _lock(store)


def _lock(store: Store) -> Finding:
    """Whether a writer could write now."""
    if not store.path.exists():
        return Finding(True, "no store yet.")
    with closing(sqlite3.connect(store.path, timeout=1, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            return Finding(False, f"{store.path} cannot be written now ({error}): runs go on and write later.")
    return Finding(True, f"{store.path} is not locked.")


def _space(store: Store) -> Iterator[Finding]:
    """Whether much of the store's file holds nothing."""
    if not store.path.exists():
        return
    free, size = store.free_bytes(), store.path.stat().st_size
    sentence = f"{store.path} has {size / 2**20:,.0f} MiB, of which {free / 2**20:,.0f} MiB hold nothing"
    if free < MUCH_FREE or free < size / 4:
        yield Finding(True, f"{sentence}.")
    elif store.all_stored(states=ACTIVE, limit=1):
        yield Finding(True, f"{sentence}: --repair returns them once no run works.")
    else:
        yield Finding(False, f"{sentence}: --repair returns them to the disk.", lambda: _compacted(store, size))


def _compacted(store: Store, before: int) -> str:
    store.compact()
    return f"{store.path} has {(before - store.path.stat().st_size) / 2**20:,.0f} MiB less."


# repairing -----------------------------------------------------------------------------------------------------------


def _refuse_while_at_work(store: Store) -> None:
    for folder in (store.home / "runs").glob("*"):
        beat = last_beat(folder)
        if beat is not None and is_alive(beat.pid, beat.pid_started):
            raise UserError(
                f"run {folder.name} is at work (process {beat.pid}): wait for it or end it with `kill {beat.pid}`."
            )


def _move_aside(store: Store) -> Iterator[Path]:
    """Rename the store's files; where they are now. A newer version's store is left alone: UserError."""
    if store.path.is_file() and (version := _version(store.path)) is not None and version > SCHEMA_VERSION:
        raise UserError(f"{store.path} was written by a newer version of fda (schema {version}): use that version.")
    moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    for suffix in ("", "-wal", "-shm"):
        path = store.path.with_name(store.path.name + suffix)
        if path.exists() and (suffix == "-wal" or path.stat().st_size):
            aside, number = path.with_name(f"{path.name}.damaged-{moment}"), 1
            while aside.exists():
                aside, number = path.with_name(f"{path.name}.damaged-{moment}-{number}"), number + 1
            os.replace(path, aside)
            yield aside
        else:
            path.unlink(missing_ok=True)  # empty: there is nothing in it to keep


def _version(path: Path) -> int | None:
    """Schema version from the file's header; None if it is no database."""
    with path.open("rb") as file:
        header = file.read(100)
    return (
        int.from_bytes(header[60:64], "big") if header.startswith(b"SQLite format 3\0") and len(header) == 100 else None
    )


def _list_anew(store: Store, run_id: str, spec: RunSpec) -> int:
    """A row for a run of which the folder is left, and for its finished units; how many those are."""
    folder = store.run_dir(run_id)
    store.adopt_run(run_id, spec, queue_of(spec), _created(run_id), REBUILT)
    steps = 0 if spec.construction is None else spec.construction.steps
    count = 0
    for task in spec.tasks if spec.construction is not None else ():
        for path in sorted((folder / "anchors" / task).glob("*.safetensors"), key=lambda path: path.stem.zfill(9)):
            if not path.stem.isdecimal() or path != anchors_file(folder, task, int(path.stem)) or damage(path, None):
                continue
            key, said = UnitKey("construct", task, int(path.stem)), _metadata(path)
            if said is None:
                continue
            store.add_units(run_id, [(key, steps)])
            store.add_file(run_id, path.relative_to(folder).as_posix(), record_of(path))
            store.update_unit(run_id, key, state="done", step=steps, loss=said[0], best_step=said[1])
            count += 1
    blocks = len(spec.blocks) * len(spec.tasks)
    if spec.construction is not None and not spec.methods and spec.landscape is None and blocks and count >= blocks:
        store.set_state(run_id, "done")
    return count


def _metadata(path: Path) -> tuple[float, int] | None:
    """(angle loss, step) that an anchors file says of itself; None if it does not."""
    with path.open("rb") as file:
        said = json.loads(file.read(int.from_bytes(file.read(8), "little"))).get("__metadata__", {})
    try:
        return float(said["angle_loss"]), int(said["step"])
    except (KeyError, ValueError, TypeError):
        return None


def _created(run_id: str) -> float:
    """The moment in a run's id."""
    if not RUN_ID.fullmatch(run_id):
        raise ValueError(run_id)
    try:
        return float(calendar.timegm(time.strptime(run_id[:15], "%Y%m%d-%H%M%S")))
    except ValueError:  # digits that are no date
        return 0.0


def _close_to_others(home: Path) -> None:
    """FDA_HOME and all below it for its owner alone."""
    if not home.is_dir():
        return
    make_private(home)
    for folder, _, files in os.walk(home):
        os.chmod(folder, 0o700)
        for name in files:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                os.chmod(path, os.stat(path).st_mode & 0o700)

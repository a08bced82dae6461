"""What the tests of runs share: a spec without a zoo on disk, a patient look, and work that needs no torch."""

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from fda.cancel import Cancel, Cancelled
from fda.errors import UserError
from fda.jobs.beats import WIDTH, beat_file, last_beat
from fda.settings import FAST_CONSTRUCT
from fda.store.spec import RunSpec
from fda.store.store import Store, UnitKey

UNITS = [UnitKey("construct", "red", block) for block in range(6)]


def spec(device: str = "cpu", seed: int = 0) -> RunSpec:
    """A valid spec; another seed makes another request."""
    zoo = {"name": "tiny", "base": {"model": "/base"}, "tasks": [{"name": "red", "model": "/red"}]}
    return RunSpec.model_validate(
        {
            "zoo": zoo,
            "zoo_path": "/zoo.yaml",
            "tasks": ["red"],
            "blocks": [0, 1],
            "construction": FAST_CONSTRUCT,
            "device": device,
            "seed": seed,
        }
    )


def sql(store: Store, query: str, *parameters: object) -> list[tuple]:
    """A look past the store, at the file itself."""
    with closing(sqlite3.connect(store.path, isolation_level=None)) as connection:
        return connection.execute(query, parameters).fetchall()


def age_beat(store: Store, run_id: str, seconds: float) -> None:
    """Make the last beat of a worker, which must not beat meanwhile, older by so much."""
    beat, file = last_beat(store.run_dir(run_id)), beat_file(store.run_dir(run_id))
    boot, moment = beat.stamp.split()
    line = f"{beat.pid} {beat.pid_started!r} {beat.number} {boot} {float(moment) - seconds:.3f}"
    file.write_text(line.ljust(WIDTH - 1) + "\n")


def suspend(store: Store, pid: int) -> None:
    """Suspend a worker, though not while it writes: then nobody else could write."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.2)
        with closing(sqlite3.connect(store.path, timeout=1, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError:
                os.kill(pid, signal.SIGCONT)


def wait_for(what: Callable[[], bool], seconds: float) -> float:
    """Seconds until `what()` was true; fails the test when they are over."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds, f"not true within {seconds} s"
        time.sleep(0.05)
    return time.monotonic() - began


def obedient(store: Store, run_id: str, cancel: Cancel) -> None:
    """Works for ever, and looks at each step whether to stop."""
    while not cancel.requested():
        time.sleep(0.02)
    raise Cancelled


def stubborn(store: Store, run_id: str, cancel: Cancel) -> None:
    """Works for ever and hears nothing, neither the flag nor SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(1)


def deaf(store: Store, run_id: str, cancel: Cancel) -> None:
    """Works for ever, never looks at `cancel`, ends by SIGTERM as any program does."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        time.sleep(1)


def brief(store: Store, run_id: str, cancel: Cancel) -> None:
    time.sleep(0.4)


def units(store: Store, run_id: str, cancel: Cancel) -> None:
    """Six units of ten steps; leaves out those that are done, as construction does."""
    store.add_units(run_id, [(key, 10) for key in UNITS])
    for unit in store.units(run_id):
        if unit.state == "done":
            continue
        store.reset_unit(run_id, unit.key)
        store.update_unit(run_id, unit.key, state="running")
        for step in range(10):
            cancel.check()
            time.sleep(0.02)
            store.add_scalars(run_id, unit.key, [("angle_loss", step, os.getpid())])
        store.update_unit(run_id, unit.key, state="done", step=10)


def refused(store: Store, run_id: str, cancel: Cancel) -> None:
    raise UserError("block 9 is not there: choose 0 to 1.")


def vanishing(store: Store, run_id: str, cancel: Cancel) -> None:
    os._exit(3)


def export_written(store: Store, run_id: str, cancel: Cancel) -> None:
    """An export of 100 bytes, whole at the end."""
    with _part_of(store, run_id) as (part, folder):
        (part / "model").write_bytes(b"x" * 100)
        time.sleep(0.3)
        part.rename(folder)


def export_waiting(store: Store, run_id: str, cancel: Cancel) -> None:
    """An export of which 40 of 100 bytes are written."""
    key = UnitKey("export", "ta")
    with _part_of(store, run_id) as (part, _):
        (part / "model").write_bytes(b"x" * 40)
        store.add_units(run_id, [(key, 100)])
        store.update_unit(run_id, key, state="running", step=40)
        obedient(store, run_id, cancel)


def export_refused(store: Store, run_id: str, cancel: Cancel) -> None:
    raise UserError("the disk is 100 % full")


@contextmanager
def _part_of(store: Store, run_id: str) -> Iterator[tuple[Path, Path]]:
    """The folder that an export writes and the name it gets; as `fda.stages.export.whole_folder`, without torch."""
    folder = Path(store.run(run_id).spec.helper.folder)
    part = folder.with_name(f".{folder.name}.part")
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error.strerror}): choose another place.") from None
    try:
        yield part, folder
    finally:
        shutil.rmtree(part, ignore_errors=True)

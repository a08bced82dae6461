"""What the kit compares: a run's finished work, and the store against its files."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass

from fda.jobs.doctor import examine
from fda.store.files import anchors_file
from fda.store.finished import checksum
from fda.store.records import Score, UnitKey
from fda.store.store import Store


@dataclass(frozen=True)
class Result:
    """All that two runs of one request must share: checksums of the files, scores, curves of the loss."""

    files: dict[str, str]
    scores: list[Score]
    losses: dict[UnitKey, list[float]]


def result_of(store: Store, run_id: str) -> Result:
    folder = store.run_dir(run_id)
    files = {
        path.relative_to(folder).as_posix(): checksum(path)
        for name in ("anchors", "merged")
        for path in sorted((folder / name).rglob("*.safetensors"))
        if not path.name.startswith(".")
    }
    losses = {key: values.tolist() for key, (_, values) in store.scalars(run_id, "angle_loss", points=None).items()}
    scores = sorted(store.results(run_id)[1], key=lambda score: (score.method, score.task, score.metric))
    return Result(files, scores, losses)


def finished_units(store: Store, run_id: str) -> set[UnitKey]:
    return {unit.key for unit in store.units(run_id) if unit.state == "done"}


def faults(store: Store) -> list[str]:
    """What is wrong beyond what a dead worker leaves: damage of the store, finished units without their file, two writers."""
    found = []
    with closing(sqlite3.connect(store.path)) as connection:
        found += [text for (text,) in connection.execute("PRAGMA integrity_check") if text != "ok"]
    for run in store.runs():
        files = store.files(run.run_id)
        for unit in store.units(run.run_id, "construct"):
            path = anchors_file(store.run_dir(run.run_id), unit.key.name, unit.key.block)
            record = files.get(path.relative_to(store.run_dir(run.run_id)).as_posix())
            if unit.state == "done" and not (record and path.is_file() and checksum(path) == record.sha256):
                found.append(f"{unit.key} of {run.run_id} is done without its file")
    return (
        found
        + _two_writers(store)
        + [one.text for one in examine(store) if not one.good and "MiB free" not in one.text]
    )


def _two_writers(store: Store) -> list[str]:
    """Runs that one worker wrote to after another had begun to."""
    found, last, gone = [], {}, set()
    path = store.home / "writers"
    for line in path.read_text().splitlines() if path.exists() else ():
        run_id, pid = line.split()
        if (run_id, pid) in gone:
            found.append(f"process {pid} wrote to run {run_id} after process {last[run_id]}")
        if last.get(run_id, pid) != pid:
            gone.add((run_id, last[run_id]))
        last[run_id] = pid
    return found

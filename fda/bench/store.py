"""Measure a store of many months: what Home, Run and Compare read from it, and how long its upkeep takes.

The rows are written by SQL in the shapes that runs write. The same reads from a store of few such runs stand beside it: what
concerns one run must not grow with the others.
"""

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fda.bench.home import fill
from fda.bench.page import Measured
from fda.jobs.doctor import examine
from fda.jobs.liveness import LiveStore
from fda.measures import ANGLE_LOSS, SIMILARITY, SPECTRUM
from fda.report.run_groups import MOST_RUNS, run_groups
from fda.report.runs_table import run_rows
from fda.store.backup import back_up
from fda.store.store import Store

FEW = 3  # runs of the small store
SERIES = 14  # names of scalars, such as angle_loss and the cosine of each tensor
SPECTRUM_VALUES, SPECTRA = 128, 20  # entries; snapshots a unit
PAGE_LIMIT = 2.0  # s, in which a page opens


def bench_store(*, runs: int, scalars: int, repeats: int) -> dict[str, Any]:
    """Measure and return plain data: `rows`, each with the seconds in the large store and, as `few`, in the small one."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="fda-bench-") as folder:
        small, large = Store(Path(folder) / "few"), Store(Path(folder) / "many")
        steps = max(1, round(scalars / runs / SERIES / _fill(small, FEW)))
        _fill(large, runs)
        for store in (small, large):
            _add_numbers(store, steps)
        made = {"runs": runs, "scalars": _count(large), "bytes": large.path.stat().st_size}
        middles = [(store, _middle(store)) for store in (small, large)]
        for name, read, limit in _reads():
            few, many = (_times(partial(read, LiveStore(store.home), middle), repeats) for store, middle in middles)
            measured = Measured(name, "s", float(np.median(many)), min(many), max(many), limit)
            rows.append(asdict(measured) | {"kept": measured.kept, "few": float(np.median(few))})
        rows += [_once(name, act, large) for name, act in _upkeep(Path(folder))]
    return made | {"repeats": repeats, "rows": rows}


def _fill(store: Store, runs: int) -> int:
    """Finished runs with units, losses and scores; how many units each has."""
    fill(store, runs)
    return len(store.units(store.runs(limit=1)[0].run_id))


def _add_numbers(store: Store, steps: int) -> None:
    """Scalars and spectra of every unit."""
    data = np.linspace(1, 0, SPECTRUM_VALUES, dtype="<f4").tobytes()
    names = [ANGLE_LOSS.key, SIMILARITY.key, *(f"cosine/tensor {number}" for number in range(SERIES - 2))]
    counting = "WITH RECURSIVE step(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM step WHERE n + 1 < ?)"
    with closing(sqlite3.connect(store.path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO keys (name) VALUES (?)", [(name,) for name in names])
        connection.execute(
            f"{counting} INSERT INTO scalars SELECT units.id, keys.id, n, 1.0 / (1 + n) "
            "FROM units CROSS JOIN keys CROSS JOIN step",  # in the order of the table's key
            (steps,),
        )
        connection.execute(
            f"{counting} INSERT INTO snapshots SELECT units.id, ?, n, ? FROM units, step",
            (SPECTRA, SPECTRUM.key, data),
        )
        connection.execute("COMMIT")


def _reads() -> list[tuple[str, Callable[[Store, str], object], float]]:
    """(name, what a page reads, given the store and one run, limit)."""
    return [
        ("Home: the table of runs", lambda store, run_id: run_rows(store), PAGE_LIMIT),
        ("Home: whether anything changed", lambda store, run_id: store.versions(), PAGE_LIMIT),
        ("Run: all numbers of Units and Scores", _read_run, PAGE_LIMIT),
        (
            "Run: the newest values of the loss",
            lambda store, run_id: store.scalars(run_id, ANGLE_LOSS.key, points=1),
            PAGE_LIMIT,
        ),
        ("Compare: 3 runs", lambda store, run_id: run_groups(store, store.runs(limit=FEW)), PAGE_LIMIT),
        (
            f"Compare: {MOST_RUNS} runs",
            lambda store, run_id: run_groups(store, store.runs(limit=MOST_RUNS)),
            PAGE_LIMIT,
        ),
    ]


def _read_run(store: Store, run_id: str) -> None:
    for read in (store.run, store.units, store.phases, store.results, store.averages, store.system, store.files):
        read(run_id)
    for name in store.scalar_names(run_id):
        store.scalars(run_id, name, points=300)
    store.snapshots(run_id, SPECTRUM.key)


def _middle(store: Store) -> str:
    """A run in the middle of the table."""
    runs = store.runs(limit=store.versions()[0])
    return runs[len(runs) // 2].run_id


def _upkeep(folder: Path) -> list[tuple[str, Callable[[Store], object]]]:
    copy = folder / "copy"
    return [
        ("doctor, all checks", lambda store: list(examine(store))),
        ("backup", lambda store: (back_up(store, copy), shutil.rmtree(copy))),
        ("delete a run and free its space", lambda store: store.delete_run(_middle(store))),
        ("write the store's file anew", lambda store: store.compact()),
    ]


def _once(name: str, act: Callable[[Store], object], store: Store) -> dict[str, Any]:
    (seconds,) = _times(lambda: act(store), 1)
    measured = Measured(name, "s", seconds, seconds, seconds, None)
    return asdict(measured) | {"kept": measured.kept, "few": None}


def _times(act: Callable[[], object], repeats: int) -> list[float]:
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - began)
    return seconds


def _count(store: Store) -> int:
    with closing(sqlite3.connect(store.path, isolation_level=None)) as connection:
        return connection.execute("SELECT count(*) FROM scalars").fetchone()[0]

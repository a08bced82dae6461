"""What the engine ray adds to a unit: the same run by both engines, on the same cores, in turn."""

import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from fda.cancel import NEVER
from fda.errors import UserError
from fda.requests.runs import construct_settings, make_spec
from fda.stages.execute import execute
from fda.store.spec import RunSpec
from fda.store.store import Store, UnitKey
from fda.zoos.zoo import load_zoo

ENGINES = ("local", "ray")


def bench_engines(zoo: str, *, tasks: Sequence[str] = (), cores: int, steps: int, repeats: int) -> dict[str, Any]:
    """Seconds a unit by each engine, by the clock and of all processes' work, with plain steps on a CPU.

    From the moment when every core has a unit until the last unit's end, so without the start of Ray and of its processes.
    UserError if this process may not use so many cores, or if the run has too few units.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise UserError("this system cannot keep a process on some of its cores: measure on Linux.")
    allowed_cores = sorted(os.sched_getaffinity(0))
    if cores > len(allowed_cores):
        raise UserError(f"there are {len(allowed_cores)} cores here: give --cores {len(allowed_cores)} or fewer.")
    settings = construct_settings("fast", family=load_zoo(zoo).family, steps=steps, tolerance=0.0, arithmetic="plain")
    specs = {name: make_spec(zoo, tasks=tasks, construct=settings, device="cpu", engine=name) for name in ENGINES}
    os.environ.pop("RAY_ADDRESS", None)  # a cluster of these cores alone
    os.sched_setaffinity(0, allowed_cores[:cores])
    try:
        _measured(specs["local"], cores)  # computes and keeps the real inputs
        rounds = [{name: _measured(specs[name], cores) for name in ENGINES} for _ in range(repeats)]
    finally:
        os.sched_setaffinity(0, allowed_cores)
    rows = []
    for name in ENGINES:
        seconds, work = ([one[name][index] for one in rounds] for index in (0, 1))
        rows.append(
            {
                "engine": name,
                "seconds": [statistics.median(seconds), min(seconds), max(seconds)],
                "work": [statistics.median(work), min(work), max(work)],
            }
        )
    return {"zoo": zoo, "cores": cores, "steps": settings.steps, "repeats": repeats, "rows": rows}


def _measured(spec: RunSpec, cores: int) -> tuple[float, float]:
    """(seconds a unit on one core, CPU seconds a unit of this process and its children)."""
    with tempfile.TemporaryDirectory() as folder:
        store = _Watched(Path(folder), cores)
        execute(store, store.create_run(spec), NEVER)
    if len(store.begun) <= cores:
        raise UserError(f"{len(store.begun)} units on {cores} cores tell nothing: give fewer cores or a larger zoo.")
    units = len(store.ended) - (cores - 1) / 2  # the first of each core but the last are in part before the beginning
    (began, before), (ended, after) = store.first, store.last
    return cores * (ended - began) / units, (after - before) / units


class _Watched(Store):
    """A store that remembers when every core had a unit, and when the last unit ended: (moment, CPU seconds until then)."""

    def __init__(self, home: Path, cores: int) -> None:
        super().__init__(home)
        self.cores, self.begun, self.ended = cores, set[UnitKey](), set[UnitKey]()
        self.first = self.last = (0.0, 0.0)

    def reset_unit(self, run_id: str, key: UnitKey, **changes: Any) -> None:
        super().reset_unit(run_id, key, **changes)
        if changes.get("state") == "running":
            self.begun.add(key)
            if len(self.begun) == self.cores:
                self.first = (time.perf_counter(), _work())

    def add_scalars(self, run_id: str, key: UnitKey, rows: Any, **changes: Any) -> None:
        super().add_scalars(run_id, key, rows, **changes)
        if changes.get("state") == "done":
            self.ended.add(key)
            self.last = (time.perf_counter(), _work())


def _work() -> float:
    """CPU seconds of this process and of its children so far."""
    this_process, total = psutil.Process(), 0.0
    for process in (this_process, *this_process.children(recursive=True)):
        try:
            times = process.cpu_times()
            total += times.user + times.system
        except psutil.Error:
            pass  # it has just ended
    return total

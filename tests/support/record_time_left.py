"""Record a run of the demo for `tests/report/test_time_left_replayed.py`.

`python -m tests.support.record_time_left FILE.json.gz`, on an idle machine. FDA_HOME and the compiler's cache are new folders:
the run compiles, and its estimates are the shipped ones, as after `make demo`.
"""

import argparse
import gzip
import json
import os
import tempfile
import time
from dataclasses import astuple
from pathlib import Path
from typing import Any

from fda.jobs.lifecycle import start
from fda.requests.runs import MAIN_METHODS, construct_settings, make_spec
from fda.stages.calibrate import calibrate
from fda.store.store import Store
from fda.zoos.zoo import load_zoo

BEGIN = 1000.0  # the moment of the recording at which the run starts


def record(store: Store, run_id: str) -> dict[str, Any]:
    """Watch a run until it ends. Of each second: `now`, the rows of its phases, and of its units those that changed."""
    shots, names, last = [], [], {}
    while (run := store.stored(run_id)).active:
        now = time.time()
        if run.started is not None:
            units = store.units(run_id)
            names = [astuple(unit.key) for unit in units]
            states = {index: [unit.state, unit.step, unit.steps] for index, unit in enumerate(units)}
            changed = {index: state for index, state in states.items() if last.get(index) != state}
            phases = [_from(run.started, astuple(row)) for row in store.phases(run_id)]
            shots.append({"now": now, "started": run.started, "units": changed, "phases": phases})
            last = states
        time.sleep(max(0.0, now + 1 - time.time()))
    run = store.stored(run_id)
    assert run.state == "done" and run.started and run.finished, run.message
    for shot in shots:
        shot["now"], shot["started"] = _moment(run.started, shot["now"]), BEGIN
    return {"seconds": round(run.finished - run.started, 2), "units": names, "shots": shots}


def _moment(started: float, moment: float) -> float:
    return round(BEGIN + moment - started, 2)


def _from(started: float, row: tuple) -> list[Any]:
    """A row of a phase with its moments, `began` and `ended`, counted from the run's start."""
    phase, estimate, done, total, seconds, began, ended, here = row
    moments = [None if moment is None else _moment(started, moment) for moment in (began, ended)]
    rounded = None if estimate is None else round(estimate, 2)
    return [phase, rounded, done, total, round(seconds, 2), *moments, here]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument(
        "--measured", action="store_true", help="measure this machine before, as Construct's estimate does"
    )
    parser.add_argument("--compiled", action="store_true", help="find the step compiled by a run before")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"FDA_HOME": folder, "TORCHINDUCTOR_CACHE_DIR": f"{folder}/compiled"}
        store = Store(Path(folder))
        spec = make_spec(
            "demo",
            construct=construct_settings("fast", family=load_zoo("demo").family),
            methods=MAIN_METHODS,
            device="cpu",
        )
        if options.measured:
            calibrate(spec)
        if options.compiled:
            record(store, start(store, spec))
        recorded = record(store, start(store, spec))
    options.file.write_bytes(gzip.compress(json.dumps(recorded, separators=(",", ":")).encode(), mtime=0))


if __name__ == "__main__":
    main()

"""Compare predicted and actual time and memory of runs with several settings.

Each prediction is calibrated anew, and each run is an ordinary run in its own process. The prediction warms the caches of
compiled code and real inputs for the run, as it does in normal use.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fda.errors import UserError
from fda.interpreter import begin, leave
from fda.requests import cost
from fda.requests.helper_runs import estimate_spec
from fda.requests.runs import MAIN_METHODS, construct_settings, make_spec
from fda.store.spec import RunSpec
from fda.store.store import Store
from fda.zoos.zoo import load_zoo

SETTINGS: tuple[dict[str, Any], ...] = (
    {"anchors": 16, "steps": 100, "arithmetic": "plain"},
    {"anchors": 32, "steps": 100, "arithmetic": "plain"},
    {"anchors": 64, "steps": 100, "arithmetic": "plain"},
    {"anchors": 32, "steps": 300, "arithmetic": "plain"},
    {"anchors": 16, "steps": 300, "arithmetic": "compiled"},
    {"anchors": 64, "steps": 300, "arithmetic": "compiled"},
    {"methods": MAIN_METHODS},
)


@dataclass(frozen=True)
class Compared:
    """Predicted and actual seconds and bytes of a run; `measuring`: seconds that the prediction took."""

    setting: str
    measuring: float
    predicted: float
    taken: float
    predicted_bytes: int
    taken_bytes: int


def bench_cost(
    zoo: str = "demo", *, device: str = "auto", settings: Sequence[dict[str, Any]] = SETTINGS
) -> dict[str, Any]:
    """Predict and run each setting (changes to preset `fast`, optionally `methods`); return plain data.

    UserError if a run fails.
    """
    family, rows = load_zoo(zoo).family, []
    for setting in settings:
        fields = {name: value for name, value in setting.items() if name != "methods"}
        methods = setting.get("methods", ())
        construct = construct_settings("fast", family=family, **fields)
        spec = make_spec(zoo, construct=construct, methods=methods, device=device)
        cost.calibration_file(spec).unlink(missing_ok=True)
        began = time.perf_counter()
        answer = json.loads(
            _process("fda.stages.helper_child", stdin=estimate_spec(spec).model_dump_json()).splitlines()[-1]
        )
        if "problem" in answer:
            raise UserError(answer["problem"])
        measuring, known = time.perf_counter() - began, cost.kept_calibration(spec)
        if known is None:
            raise UserError(f"the calibration of {zoo} was not saved: check the disk of FDA_HOME.")
        prediction = cost.predict(spec, known)
        taken, peak = _run(spec)
        words = [f"{name} {value}" for name, value in fields.items()] or ["preset fast"]
        words += ["main methods"] if methods else []
        title = ", ".join(words)
        rows.append(Compared(title, measuring, prediction.seconds, taken, prediction.memory_bytes, peak))
    return {"zoo": zoo, "device": device, "rows": [asdict(row) for row in rows]}


def _run(spec: RunSpec) -> tuple[float, int]:
    """(seconds, peak bytes) of the run in its own process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "spec.json").write_text(spec.model_dump_json(), encoding="utf-8")
        began = time.perf_counter()
        _process("fda.bench.cost", str(folder))
        taken = time.perf_counter() - began
        store = Store(folder)
        (run,) = store.runs()
        if run.state != "done":
            raise UserError(f"the run that was measured did not finish: {run.message or run.state}")
        readings = [value for _, key, value in store.system(run.run_id, last=100_000) if key == "memory_bytes"]
    return taken, int(max(readings))


def _process(module: str, *arguments: str, stdin: str = "") -> str:
    """What the module prints. UserError with its last line on stderr if it fails."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], input=stdin, capture_output=True, text=True)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise UserError(lines[-1].removeprefix("fda: ") if lines else f"{module} ended with code {done.returncode}.")
    return done.stdout


def main() -> int:
    """Entry point of the child process: run spec.json of a folder with a store in that folder."""
    from fda.stages.worker import run_here

    begin()
    folder = Path(sys.argv[1])
    store = Store(folder)
    run_here(store, store.create_run(RunSpec(**json.loads((folder / "spec.json").read_text(encoding="utf-8")))))
    return 0


if __name__ == "__main__":
    leave(main())

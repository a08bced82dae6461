"""What the demo took on another machine, and how much slower this one is: told where this machine has not been measured.

`assets/demo/costs.json` is a calibration that `python -m fda estimate` kept, with the seconds that compiling took, and those of
the same `sample_work` there.
"""

import json
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from fda.home import ASSETS
from fda.requests import cost
from fda.requests.cost import Calibration
from fda.store.spec import RunSpec
from fda.store.store import queue_device

COSTS = ASSETS / "demo" / "costs.json"
MOST_LANES = 8  # as `fda.jobs.lanes`, which needs torch


def shipped_costs(spec: RunSpec) -> Calibration | None:
    """The demo's costs with this machine's number of lanes; None for any other zoo, device or settings."""
    shipped = _read()
    same = shipped is not None and Path(spec.zoo_path) == ASSETS / "zoos" / "demo.yaml"
    if (
        shipped is None
        or not same
        or queue_device(spec.device) != "cpu"
        or cost.costly_settings(spec) != shipped["settings"]
    ):
        return None
    return replace(
        cost.read_calibration(shipped["calibration"]),
        lanes=min(cost.cores(), MOST_LANES),
        long_arithmetic="bfloat16" if _has_bfloat16() else "compiled",
    )


def shipped_compiling() -> float | None:
    """Seconds that compiling the demo's step took there."""
    shipped = _read()
    return None if shipped is None else shipped["compiling"]


@cache
def slowness() -> float:
    """How many times longer than there the same small work takes here: the best of five samples, 20 ms in all."""
    shipped = _read()
    return 1.0 if shipped is None else min(sample_work() for _ in range(5)) / shipped["sample_work"]


def sample_work() -> float:
    """Seconds of a fixed piece of work on one core: like a step of the demo, small products, elementwise sums, and Python."""
    weights = np.full((64, 64), 0.01, np.float32)  # so small that no library shares the product between threads
    x, began = weights, time.perf_counter()
    for _ in range(400):
        x = np.tanh(x @ weights + 0.5) * 0.01
    return time.perf_counter() - began


def _has_bfloat16() -> bool:
    """As `fda.architectures.precision` asks torch, which is not here; False where the system does not tell."""
    try:
        return "avx512_bf16" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False


def _read() -> dict | None:
    try:
        return json.loads(COSTS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None

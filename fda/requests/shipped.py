"""What the demo took on the machine that its recordings are from: told where this machine has not been measured.

`assets/demo/costs.json` is a calibration that `python -m fda estimate` kept, with the seconds that compiling took.
"""

import json
from dataclasses import replace
from pathlib import Path

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
    return replace(cost.read_calibration(shipped["calibration"]), lanes=min(cost.cores(), MOST_LANES))


def shipped_compiling() -> float | None:
    """Seconds that compiling the demo's step took there."""
    shipped = _read()
    return None if shipped is None else shipped["compiling"]


def _read() -> dict | None:
    try:
        return json.loads(COSTS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None

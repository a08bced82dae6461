"""Benchmark results as JSON files in FDA_HOME/bench, each with its command, date and machine.

`python -m fda bench …` writes them and the page Speed reads them, so this module imports no torch.
"""

import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, get_args

from fda.atomic import write_text
from fda.home import fda_home

Kind = Literal["construct", "merge", "evaluate", "page"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NEWEST = 50  # only so many results are read; older files stay on disk


@dataclass(frozen=True)
class Result:
    """One measurement. `results`: what the benchmark of this kind returns; for `construct`, one entry a size.

    `date`: seconds since the epoch. `machine`: processor, cores, memory_bytes, system, python, torch; with a GPU, also device.
    """

    kind: Kind
    command: str
    date: float
    machine: dict[str, Any]
    results: list[dict[str, Any]]


def new_result(kind: Kind, results: list[dict[str, Any]], device: str | None = None) -> Result:
    """A result of this process, dated now, with its command line. `device`: the GPU's name."""
    arguments = sys.argv[1:]
    return Result(kind, shlex.join(["python", "-m", "fda", *arguments]), time.time(), machine(device), results)


def machine(device: str | None = None) -> dict[str, Any]:
    """Describe this machine; see `Result`."""
    import psutil

    facts = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": _installed("torch"),
    }
    return facts if device is None else facts | {"device": device}


def results_folder() -> Path:
    return fda_home() / "bench"


def keep_result(result: Result) -> Path:
    """Write a result to FDA_HOME/bench and return its path."""
    moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime(result.date))
    path = results_folder() / f"{moment}-{result.kind}.json"
    write_text(path, to_json(result) + "\n")
    return path


def to_json(result: Result) -> str:
    return json.dumps(asdict(result), indent=2)


def kept_results() -> list[tuple[Path, Result]]:
    """(path, result) of the newest results in FDA_HOME/bench, newest first. Skips files that hold no valid result."""
    try:
        paths = sorted(results_folder().glob("*.json"), reverse=True)
    except OSError:
        return []
    results = [(path, result) for path in paths[:NEWEST] if (result := _read(path)) is not None]
    return sorted(results, key=lambda pair: pair[1].date, reverse=True)


def _read(path: Path) -> Result | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        result = Result(**data)
        fits = isinstance(result.machine, Mapping) and all(isinstance(entry, Mapping) for entry in result.results)
        return result if fits and result.kind in KINDS and isinstance(result.date, int | float) else None
    except (OSError, ValueError, TypeError):
        return None


def _processor() -> str:
    """The processor's name from /proc/cpuinfo, or from Python where that file is missing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

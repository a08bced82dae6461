"""Compare presets fast and paper by the scores of FDA from every start, on the same seeds.

Its runs are ordinary runs of the store, so the pages show them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fda.bench.paired import paired
from fda.errors import UserError
from fda.merging.methods.fda import STARTS
from fda.requests.runs import construct_settings, make_spec
from fda.settings import Arithmetic, Preset
from fda.stages.worker import run_here
from fda.store.store import Store
from fda.zoos.zoo import load_zoo

PRESETS: tuple[Preset, Preset] = ("paper", "fast")


def bench_presets(
    zoo: str = "demo",
    *,
    seeds: Sequence[int] = (0, 1, 2),
    device: str = "auto",
    arithmetic: Arithmetic = "auto",
) -> dict[str, Any]:
    """Construct and compare once per preset and seed, then return `summary`. UserError if a run or a method fails.

    Both presets use `arithmetic`, so that only the optimisation differs; `plain` is exactly the paper's and takes longer.
    """
    store, family, methods = Store(), load_zoo(zoo).family, tuple(f"fda:{start}" for start in STARTS)
    runs: dict[str, list[str]] = {preset: [] for preset in PRESETS}
    for seed in seeds:
        for preset in PRESETS:
            settings = construct_settings(preset, family=family, seed=seed, arithmetic=arithmetic)
            spec = make_spec(zoo, construct=settings, methods=methods, device=device, seed=seed)
            runs[preset].append(store.create_run(spec))
            if run_here(store, runs[preset][-1]) != "done":
                raise UserError(f"run {runs[preset][-1]} did not finish: `python -m fda runs show RUN_ID` says why.")
    return summary(store, runs) | {"seeds": list(seeds), "arithmetic": arithmetic}


def summary(store: Store, runs: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """For each start the averages of both presets, one a seed, and fast − paper with its paired 95 % interval.

    `unit_seconds`: seconds of construction in each run, summed over units.
    """
    paper, fast = (runs[preset] for preset in PRESETS)
    tasks = store.run(paper[0]).spec.tasks
    rows = []
    for start in STARTS:
        method = f"fda:{start}"
        seeds = [((one, method), (other, method)) for one, other in zip(paper, fast, strict=True)]
        difference = paired(store, seeds, tasks)
        rows.append(
            {
                "start": start,
                "paper": difference.first,
                "fast": difference.second,
                "difference": difference.difference,
                "interval": difference.interval,
            }
        )
    return {
        "zoo": store.run(paper[0]).spec.zoo.name,
        "runs": {preset: list(run_ids) for preset, run_ids in runs.items()},
        "tasks": list(tasks),
        "unit_seconds": {preset: [_unit_seconds(store, run) for run in run_ids] for preset, run_ids in runs.items()},
        "rows": rows,
    }


def _unit_seconds(store: Store, run: str) -> float:
    """Seconds of all units of a run, summed."""
    return float(sum(unit.seconds or 0.0 for unit in store.units(run, "construct")))

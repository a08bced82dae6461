"""Compare FDA from each start with the start itself, over several seeds, with confidence intervals.

Its runs are ordinary runs of the store, so the pages show them.
"""

from collections.abc import Sequence
from typing import Any

from fda.bench.paired import paired
from fda.errors import UserError
from fda.merging.methods.fda import STARTS
from fda.requests.runs import construct_settings, make_spec
from fda.stages.worker import run_here
from fda.store.store import Store
from fda.zoos.zoo import load_zoo


def bench_starts(zoo: str = "demo", *, seeds: Sequence[int] = (0, 1, 2), device: str = "auto") -> dict[str, Any]:
    """Construct and compare once per seed, then return `summary`. UserError if a run or a method fails."""
    store, methods = Store(), tuple(name for start in STARTS for name in (start, f"fda:{start}"))
    family, runs = load_zoo(zoo).family, []
    for seed in seeds:
        spec = make_spec(
            zoo,
            construct=construct_settings("fast", family=family, seed=seed),
            methods=methods,
            device=device,
            seed=seed,
        )
        runs.append(store.create_run(spec))
        if run_here(store, runs[-1]) != "done":
            raise UserError(f"run {runs[-1]} did not finish: `python -m fda runs show {runs[-1]}` says why.")
    return summary(store, runs)


def summary(store: Store, runs: Sequence[str]) -> dict[str, Any]:
    """The average accuracy of each start and of FDA from it, one a run, and their mean difference with its 95 % interval."""
    tasks = store.run(runs[0]).spec.tasks
    rows = []
    for start in STARTS:
        difference = paired(store, [((run, start), (run, f"fda:{start}")) for run in runs], tasks)
        rows.append(
            {
                "start": start,
                "averages": difference.first,
                "fda": difference.second,
                "difference": difference.difference,
                "interval": difference.interval,
            }
        )
    return {"zoo": store.run(runs[0]).spec.zoo.name, "runs": list(runs), "tasks": list(tasks), "rows": rows}

"""Check the paper's three observations of anchors: measures at the first and the last step, over seeds and inits.

The tail of the spectrum falls (figure 3). Similarity with real data rises above chance, more so with init weight than gauss
(figure 4). Projection energy rises towards that of real data (figure 5). The runs are ordinary runs of the store.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fda.errors import UserError
from fda.measures import SCALARS
from fda.requests.runs import construct_settings, make_spec
from fda.stages.worker import run_here
from fda.store.store import Store
from fda.zoos.zoo import load_zoo

SIGMA = 0.01  # of init gauss: the paper's best
INITS = ("weight", "gauss")


@dataclass(frozen=True)
class Observed:
    """One measure of one init: means over units, one a seed, and the share of all units in which it rose."""

    preset: str
    init: str
    measure: str
    first: list[float]
    last: list[float]
    rose: float
    real: float | None  # the measure of held-out real data, if recorded


def bench_observations(
    zoo: str = "demo",
    *,
    seeds: Sequence[int] = (0, 1, 2),
    preset: str = "fast",
    blocks: Sequence[int] = (),
    device: str = "auto",
) -> dict[str, Any]:
    """Construct once per init and seed, then read the recorded measures. UserError if a run fails."""
    store, family, rows, made = Store(), load_zoo(zoo).family, [], []
    for init in INITS:
        settings = {"init": init, "sigma": SIGMA if init == "gauss" else None}
        runs = []
        for seed in seeds:
            construct = construct_settings(preset, family=family, seed=seed, **settings)
            spec = make_spec(zoo, blocks=blocks, construct=construct, device=device, seed=seed)
            runs.append(store.create_run(spec))
            if run_here(store, runs[-1]) != "done":
                raise UserError(f"run {runs[-1]} did not finish: `python -m fda runs show {runs[-1]}` says why.")
        made += runs
        rows += observed(store, runs, preset, init)
    return {"zoo": zoo, "runs": made, "seeds": list(seeds), "rows": [asdict(row) for row in rows]}


def observed(store: Store, runs: Sequence[str], preset: str, init: str) -> list[Observed]:
    """The measures that these runs, one a seed, recorded."""
    rows = []
    for measure in SCALARS:
        ends = [
            np.array([values[[0, -1]] for _, values in store.scalars(run, measure.key, points=None).values()])
            for run in runs
        ]  # one (units, 2) a run
        if any(of_run.size == 0 for of_run in ends):
            continue
        lines = [store.scalars(run, measure.real_key, points=1).values() for run in runs]
        real = [values[-1] for of_run in lines for _, values in of_run]
        every = np.concatenate(ends)
        rows.append(
            Observed(
                preset,
                init,
                measure.key,
                [float(of_run[:, 0].mean()) for of_run in ends],
                [float(of_run[:, 1].mean()) for of_run in ends],
                float((every[:, 1] > every[:, 0]).mean()),
                float(np.mean(real)) if real else None,
            )
        )
    return rows

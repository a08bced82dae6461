"""Do the paper's three observations of anchors hold here? Measures at the first and the last step, over seeds and starts.

The tail of the spectrum falls (figure 3); similarity with real data rises above chance, more so from weight than from gauss
(figure 4); projection energy rises towards that of real data (figure 5). Runs are ordinary runs of the store.
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

SIGMA = 0.01  # of the gauss start: the paper's best
STARTS = ("weight", "gauss")


@dataclass(frozen=True)
class Observed:
    """One measure of one start: means over units, one a seed, and the share of all units in which it rose."""

    preset: str
    init: str
    measure: str
    first: list[float]
    last: list[float]
    rose: float
    real: float | None  # the same of held-out real data, where there is such a line


def bench_observations(
    zoo: str = "demo",
    *,
    seeds: Sequence[int] = (0, 1, 2),
    preset: str = "fast",
    blocks: Sequence[int] = (),
    device: str = "auto",
) -> dict[str, Any]:
    """Construct once a start and seed, then read what was recorded. UserError if a run fails."""
    store, family, rows, made = Store(), load_zoo(zoo).family, [], []
    for init in STARTS:
        settings = {"init": init, "sigma": SIGMA if init == "gauss" else None}
        runs = []
        for seed in seeds:
            construct = construct_settings(preset, family=family, seed=seed, **settings)
            spec = make_spec(zoo, blocks=blocks, construct=construct, device=device, seed=seed)
            runs.append(store.create_run(spec))
            if run_here(store, runs[-1]) != "done":
                raise UserError(f"run {runs[-1]} did not finish: `python -m fda runs show {runs[-1]}` tells why.")
        made += runs
        rows += observed(store, runs, preset, init)
    return {"zoo": zoo, "runs": made, "seeds": list(seeds), "rows": [asdict(row) for row in rows]}


def observed(store: Store, runs: Sequence[str], preset: str, init: str) -> list[Observed]:
    """What these runs, one a seed, recorded of every measure that they have."""
    rows = []
    for measure in SCALARS:
        ends = [
            np.array([values[[0, -1]] for _, values in store.scalars(run, measure.key, points=None).values()])
            for run in runs
        ]  # one (units, 2) a run
        if any(own.size == 0 for own in ends):
            continue
        lines = [store.scalars(run, measure.real_key, points=1).values() for run in runs]
        real = [values[-1] for own in lines for _, values in own]
        every = np.concatenate(ends)
        rows.append(
            Observed(
                preset,
                init,
                measure.key,
                [float(own[:, 0].mean()) for own in ends],
                [float(own[:, 1].mean()) for own in ends],
                float((every[:, 1] > every[:, 0]).mean()),
                float(np.mean(real)) if real else None,
            )
        )
    return rows

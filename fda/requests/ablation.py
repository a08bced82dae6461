"""The paper's ablation of initialisations (arXiv 2510.21223, figures 3 and 4): the same construction from five starts.

Five runs, so that queueing, stopping and resuming work as for any run. Runs belong together if their specs differ only in how
the anchors begin. Imports no torch.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from fda.jobs import lifecycle as jobs
from fda.requests.runs import construct_settings, make_spec
from fda.settings import ConstructSettings
from fda.store.records import ACTIVE, Run
from fda.store.spec import RunSpec
from fda.store.store import Store, queue_device
from fda.zoos.zoo import load_zoo

SIGMAS = (1e-4, 1e-2, 1.0, 10.0)  # the paper's
STARTS: tuple[dict[str, object], ...] = ({"init": "weight"}, *({"init": "gauss", "sigma": sigma} for sigma in SIGMAS))


def ablation_specs(
    zoo: str | Path,
    *,
    tasks: Sequence[str] = (),
    blocks: Sequence[int] = (),
    preset: str = "fast",
    steps: int | None = None,
    seed: int = 0,
    device: str = "auto",
    roots: list[Path] | None = None,
) -> list[RunSpec]:
    """One spec for each initialisation, the weights first. UserError and `roots` as `make_spec`."""
    family = load_zoo(zoo, roots=roots).family
    settings = [construct_settings(preset, family=family, steps=steps, seed=seed, **start) for start in STARTS]
    chosen = {"tasks": tasks, "blocks": blocks, "device": device, "seed": seed, "roots": roots}
    first = make_spec(zoo, construct=settings[0], **chosen)
    return [first.model_copy(update={"construction": one}) for one in settings]


def start_ablation(store: Store, specs: Sequence[RunSpec]) -> list[str]:
    """The run of each spec: an existing one, at work or done, else a new one. They wait in the device's queue.

    A run that ended early is resumed. UserError if a worker cannot be queued.
    """
    started = []
    for spec in specs:
        existing = run_of(store.runs(), spec)
        if existing is None:
            started.append(jobs.start(store, spec))
            continue
        if existing.state != "done" and existing.state not in ACTIVE:
            jobs.resume(store, existing.run_id)
        started.append(existing.run_id)
    return started


def run_of(runs: Iterable[Run], spec: RunSpec) -> Run | None:
    """The run of this very request on this device: one that is done before one at work before one that ended early."""
    same = [run for run in runs if _whole(run.spec) == _whole(spec)]
    return min(same, key=lambda run: (run.state != "done", run.state not in ACTIVE), default=None)


def other_starts(runs: Iterable[Run], run: Run) -> list[Run]:
    """The runs that differ from `run` in the start of their anchors alone, the newest of each start; in the paper's order."""
    construction = run.spec.construction
    if construction is None:
        return []
    best_of: dict[tuple, Run] = {}
    for other in runs:
        if other.spec.construction is None or _start(other.spec.construction) == _start(construction):
            continue
        if _but_start(other.spec) == _but_start(run.spec):
            best = best_of.setdefault(_start(other.spec.construction), other)
            if best.state != "done" and other.state == "done":
                best_of[_start(other.spec.construction)] = other
    return [best_of[start] for start in sorted(best_of)]


def _start(settings: ConstructSettings) -> tuple[bool, float]:
    """Sorts the weight start first; its σ is not used."""
    return (settings.init != "weight", settings.sigma if settings.init == "gauss" else 0.0)


def _but_start(spec: RunSpec) -> RunSpec:
    plain = spec.construction and spec.construction.model_copy(update={"init": "weight", "sigma": 0.01})
    return _whole(spec).model_copy(update={"construction": plain})


def _whole(spec: RunSpec) -> RunSpec:
    """With the device that `auto` means; methods do not change anchors."""
    return spec.model_copy(
        update={
            "device": queue_device(spec.device),
            "methods": (),
            "hyperparameters": {},
            "adaptation": None,
        }
    )

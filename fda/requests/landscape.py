"""Turns a request for a run's landscape into a RunSpec, or into one sentence on what is wrong. Torch-free."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fda.errors import UserError
from fda.requests.hyperparameters import checked_hyperparameters
from fda.requests.runs import need_data
from fda.settings import LandscapeSettings
from fda.store.disk import bytes_below
from fda.store.landscape_record import FDA_PATHS, TA
from fda.store.records import Run
from fda.store.spec import RunSpec
from fda.store.store import Store, UnitKey
from fda.zoos.zoo import Zoo

COARSE = {"points": 9, "samples": 32, "snapshots": 6}  # a tenth of the time of the default grid
SMALL = 100 * 10**6  # bytes of the base's folder
CHOICES = tuple(name for name in LandscapeSettings.model_fields if name != "source")  # what a person may set


def landscape_spec(store: Store, source: str, *, device: str | None = None, **settings: Any) -> RunSpec:
    """A checked spec of the landscape of run `source`: its zoo, tasks, blocks, seed and adaptation; its anchors, or those that
    it was given. `device`: the source's if left out; `settings` that are None keep their default.

    UserError if there is no such run, if its anchors are not all there, if a task has no data, or for a value out of range.
    """
    run = store.run(source)
    spec, anchors = run.spec, anchors_run(run)
    if anchors is None:
        raise UserError(f"run {source} has no anchors: choose a run that constructed some, or was given some.")
    _need_anchors(store, spec, anchors)
    need_data(spec.zoo, spec.tasks)
    given = {name: value for name, value in settings.items() if value is not None}
    try:
        chosen = LandscapeSettings(source=source, **given)
    except ValidationError as error:
        problem = error.errors()[0]
        message = problem["msg"].removeprefix("Value error, ")
        raise UserError(f"--{'.'.join(map(str, problem['loc']))}: {message[0].lower()}{message[1:]}.") from None
    if chosen.split == "validation":
        _need_validation(spec)
    usual = checked_hyperparameters({}, (TA, *FDA_PATHS), spec.zoo.family)
    arithmetic = spec.hyperparameters.get(TA) or usual.get(TA)
    return RunSpec(
        zoo=spec.zoo,
        zoo_path=spec.zoo_path,
        tasks=spec.tasks,
        blocks=spec.blocks,
        hyperparameters={TA: arithmetic} if arithmetic else {},
        adaptation=spec.adaptation,
        anchors_run=anchors,
        landscape=chosen,
        device=device or spec.device,
        seed=spec.seed,
    )


def coarse_landscape_spec(store: Store, source: str) -> RunSpec:
    """The landscape of run `source` on a coarse grid. UserError as `landscape_spec`."""
    return landscape_spec(store, source, device=None, **COARSE)


def is_small(zoo: Zoo) -> bool:
    """Whether the zoo's base, a local folder or file, is small enough for a landscape that nobody asked for."""
    base = Path(zoo.base.model)
    return base.exists() and (bytes_below(base) if base.is_dir() else base.stat().st_size) <= SMALL


def anchors_run(run: Run) -> str | None:
    """The run whose anchors a landscape of `run` would use: itself, or the one that it compares; None if there is none."""
    if run.spec.landscape is not None:
        return None
    return run.run_id if run.spec.construction is not None else run.spec.anchors_run


def _need_anchors(store: Store, spec: RunSpec, source: str) -> None:
    units = store.units(source, "construct")
    if not units:
        raise UserError(
            f"run {source} has constructed no anchors yet: wait for it, or `python -m fda runs resume {source}`."
        )
    blocks = spec.blocks or {unit.key.block for unit in units}
    wanted = {UnitKey("construct", task, block) for task in spec.tasks for block in blocks}
    lacking = wanted - {unit.key for unit in units if unit.state == "done"}
    if lacking:
        done = f"{len(wanted) - len(lacking)} of {len(wanted)}"
        raise UserError(
            f"run {source} has {done} units of anchors: wait for it, or `python -m fda runs resume {source}`."
        )


def _need_validation(spec: RunSpec) -> None:
    for name in spec.tasks:
        data = spec.zoo.task(name).data
        if data is None or not data.validation_split:
            raise UserError(
                f"task {name!r} of zoo {spec.zoo.name} has no `data.validation_split`: add it, or choose the test split."
            )

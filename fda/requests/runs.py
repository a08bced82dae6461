"""Turns a request from a page or the command line into a RunSpec, or into one sentence on what is wrong.

Torch-free: everything that can be known without opening a checkpoint is checked here. The values of hyperparameters are
checked in `hyperparameters.py`.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from fda.errors import UserError
from fda.merging.method import SWEPT, Method
from fda.merging.methods.mix import is_mix
from fda.merging.methods.ta import task_weights
from fda.merging.registry import MAIN_METHODS, METHODS, method
from fda.requests.hyperparameters import Asked, checked_hyperparameters, read_by, usual_for
from fda.requests.recipe import kept_recipe
from fda.settings import (
    ONLY_WITH,
    PAPER_ADAPT,
    AdaptSettings,
    ConstructSettings,
    Family,
    is_read,
    paper_family,
    presets,
    written_out,
)
from fda.store.spec import ADDRESS, RunSpec
from fda.zoos.zoo import Zoo, brings_head, load_zoo, zoo_path

GROUPS = ("main", "data-free", "all")
Settings = TypeVar("Settings", bound=BaseModel)


def construct_settings(preset: str, *, family: Family = "vision", **changes: object) -> ConstructSettings:
    """A family's preset with the changes that are not None.

    UserError for an unknown preset, a value out of range, and a change that these settings do not read.
    """
    known = presets(family)
    if preset not in known:
        raise UserError(f"there is no preset {preset!r}: choose {' or '.join(known)}.")
    wanted = {name: value for name, value in changes.items() if value is not None}
    settings = _checked(ConstructSettings, known[preset].model_dump() | wanted, "--")
    for name in wanted:
        if not is_read(name, settings.model_dump()):
            other, value = ONLY_WITH[name]
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option} is read only with --{other} {value}: add that, or leave {option} out.")
    return settings


def adapt_settings(zoo: Zoo, adaptation: AdaptSettings | None = None) -> AdaptSettings:
    """How a run adapts: as its spec says, else with the paper's settings for the family and the zoo file's over them."""
    if adaptation is not None:
        return adaptation
    where = f"zoo {zoo.name}: adapt."
    values = PAPER_ADAPT[paper_family(zoo.family)].model_dump() | _written_out(zoo.adapt, where)
    return _checked(AdaptSettings, values, where)


def make_spec(
    zoo: str | Path,
    *,
    tasks: Sequence[str] = (),
    blocks: Sequence[int] = (),
    construct: ConstructSettings | None = None,
    methods: Sequence[str] = (),
    hyperparameters: Asked | None = None,
    adaptation: Mapping[str, Any] | None = None,
    anchors_run: str | None = None,
    device: str = "auto",
    engine: str = "local",
    address: str | None = None,
    seed: int = 0,
    coarse_landscape: bool = False,
    roots: list[Path] | None = None,
) -> RunSpec:
    """A checked spec. `roots` as in `load_zoo`: given by pages, left out by the command line.

    `hyperparameters` and `adaptation` are what is asked for beside the defaults; values may be text. A method that lacks
    what it needs is left to the run, which says so in its row; UserError if none of the methods could run, and for the engine
    ray where it is not installed.
    """
    loaded = load_zoo(zoo, roots=roots)
    chosen = known_tasks(loaded, tasks)
    asked = tuple(method(name).name for name in dict.fromkeys(methods))
    names = tuple(dict.fromkeys(("pretrained", "individual", *asked))) if asked else ()
    if engine == "ray":
        require_ray()
        if device not in ("auto", "cpu", "cuda", "cuda:0"):
            raise UserError(
                f"with the engine ray, Ray chooses among GPUs: give --device auto, cpu or cuda, not {device}."
            )
        if address is not None and not ADDRESS.fullmatch(address):
            raise UserError(f"--address {address}: give auto, local or HOST:PORT, such as 10.0.0.5:6379.")
    elif address is not None:
        raise UserError("--address is read only with --engine ray: add that, or leave --address out.")
    if names:
        need_data(loaded, chosen)
    negative = [block for block in blocks if block < 0]
    if negative:
        raise UserError(f"there is no block {negative[0]}: blocks are numbered from 0.")
    values = {
        "zoo": loaded,
        "zoo_path": str(zoo_path(zoo)),
        "tasks": chosen,
        "blocks": tuple(sorted(set(blocks))),
        "construction": construct,
        "methods": names,
        "hyperparameters": checked_hyperparameters(hyperparameters or {}, names, loaded.family),
        "adaptation": _changed_adaptation(loaded, adaptation or {}),
        "anchors_run": anchors_run,
        "device": device,
        "engine": engine,
        "address": address,
        "seed": seed,
        "coarse_landscape": coarse_landscape,
    }
    for given in values["hyperparameters"].values():
        task_weights(given.get("weights", ""), len(chosen))  # said now, not in the row of a finished run
    for mix in filter(is_mix, names):
        kept_recipe(values["hyperparameters"].get(mix, {}), mix, loaded, chosen)
    spec = _checked(RunSpec, values, "--")
    lacking = [need for name in asked if (need := missing_need(spec, METHODS[name])) is not None]
    if asked and len(lacking) == len(asked):
        raise UserError(lacking[0])
    return spec


def has_ray() -> bool:
    """Whether the package ray is installed, which the engine ray needs. Does not import it."""
    return find_spec("ray") is not None


def require_ray() -> None:
    """UserError if the package ray is not installed."""
    if not has_ray():
        raise UserError("the engine ray needs the package ray: `pip install 'fda[ray]'`, or leave --engine out.")


def missing_need(spec: RunSpec, one: Method) -> str | None:
    """One sentence on what a method lacks in this run (anchors, a split, another number of tasks); None if nothing."""
    return _lacks(spec.zoo, spec.tasks, one, anchors=spec.construction is not None or spec.anchors_run is not None)


def changed_hyperparameters(spec: RunSpec) -> dict[str, dict[str, Any]]:
    """The hyperparameters that a run's methods read and that differ from the family's defaults: method → name → value."""
    given = spec.hyperparameters
    changed: dict[str, dict[str, Any]] = {}
    for name, hypers in read_by(spec.methods).items():
        usual = usual_for(name, spec.zoo.family)
        for hyper in hypers:
            value = given.get(name, {}).get(hyper.name, hyper.default)
            if value != usual.get(hyper.name, hyper.default):
                changed.setdefault(name, {})[hyper.name] = value
    return changed


def changed_adaptation(spec: RunSpec, usual_settings: AdaptSettings | None = None) -> dict[str, Any]:
    """What differs from these adaptation settings, by default the zoo's own."""
    usual = (usual_settings or adapt_settings(spec.zoo)).model_dump()
    values = adapt_settings(spec.zoo, spec.adaptation).model_dump()
    return {name: value for name, value in values.items() if value != usual[name]}


def choose_methods(
    zoo: Zoo, tasks: Sequence[str], words: Sequence[str], *, anchors: bool, sweep: bool = False
) -> tuple[str, ...]:
    """The methods that `words` mean: names as they are; main, data-free and all: those of the group that can run here.

    `sweep` adds the swept variant of each that has one. UserError for an unknown name, and where nothing can be swept.
    """
    chosen: list[str] = []
    for word in words:
        if word in GROUPS:
            group = METHODS.values() if word != "main" else [METHODS[name] for name in MAIN_METHODS]
            if word == "data-free":
                group = [one for one in group if one.needs in ("nothing", "anchors")]
            chosen += [one.name for one in group if not one.swept and not _lacks(zoo, tasks, one, anchors=anchors)]
        else:
            chosen.append(method(word).name)
    if sweep:
        chosen = list(with_swept(chosen))
        variants = [METHODS[name] for name in chosen if name.endswith(SWEPT)]
        lacking = [need for one in variants if (need := _lacks(zoo, tasks, one, anchors=anchors)) is not None]
        if len(lacking) == len(variants):
            raise UserError(lacking[0] if lacking else f"none of {', '.join(chosen)} has a coefficient to sweep.")
    return tuple(dict.fromkeys(chosen))


def with_swept(names: Iterable[str]) -> tuple[str, ...]:
    """Each method followed by its swept variant, if it has one."""
    return tuple(dict.fromkeys(variant for name in names for variant in (name, name + SWEPT) if variant in METHODS))


def known_tasks(zoo: Zoo, wanted: Iterable[str]) -> tuple[str, ...]:
    """The wanted tasks in the zoo's order; all of them if none is named."""
    wanted = tuple(wanted)
    for name in wanted:
        if name not in zoo.task_names:
            near = difflib.get_close_matches(name, zoo.task_names, n=1)
            hint = f"did you mean {near[0]}? It has" if near else "it has"
            raise UserError(f"zoo {zoo.name} has no task {name!r}: {hint} {', '.join(zoo.task_names)}.")
    return tuple(name for name in zoo.task_names if not wanted or name in wanted)


def split_list(text: str | None) -> tuple[str, ...]:
    """`a,b , c` → (a, b, c); nothing → ()."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def split_blocks(text: str | None) -> tuple[int, ...]:
    """`0,2` → (0, 2). UserError for what is not a whole number."""
    for part in split_list(text):
        if not part.isdigit():
            raise UserError(f"{part!r} is not a block number: give numbers from 0, such as --blocks 0,1.")
    return tuple(int(part) for part in split_list(text))


def read_adaptation(texts: Iterable[str]) -> dict[str, str]:
    """`("distance=mse",)` → {"distance": "mse"}. UserError for what has not that form."""
    values: dict[str, str] = {}
    for text in texts:
        name, _, value = (part.strip() for part in text.partition("="))
        if not (name and value):
            raise UserError(f"--adapt {text}: write NAME=VALUE, such as --adapt distance=mse.")
        values[name] = value
    return values


def _lacks(zoo: Zoo, tasks: Sequence[str], one: Method, *, anchors: bool) -> str | None:
    if one.needs == "anchors" and not anchors:
        return f"{one.name} needs anchors: name a finished construct run with --anchors RUN_ID."
    if one.tasks not in (None, len(tasks)):
        return f"{one.name} merges exactly {one.tasks} tasks, not {len(tasks)}: choose them with --tasks."
    if len(tasks) < one.least_tasks:
        return f"{one.name} merges at least {one.least_tasks} tasks, not {len(tasks)}: choose more with --tasks."
    splits = []
    if one.needs in ("inputs", "labels"):
        splits.append(("inputs of the training split", "train_split") if one.split == "train" else ("inputs", "split"))
    if one.swept:
        splits.append(("a validation split", "validation_split"))
    for what, field in splits:
        for task in tasks:
            if not getattr(zoo.task(task).data, field, None):
                return f"{one.name} needs {what}, but task {task!r} of zoo {zoo.name} has no `data.{field}`: add it."
    return None


def need_data(zoo: Zoo, tasks: Sequence[str]) -> None:
    """UserError if a task cannot be scored."""
    for name in tasks:
        task = zoo.task(name)
        for what, given in (("data", task.data is not None), ("head", brings_head(zoo, task))):
            if not given:
                raise UserError(
                    f"task {name!r} of zoo {zoo.name} has no `{what}`, so methods cannot be scored on it: add it."
                )


def _changed_adaptation(zoo: Zoo, changes: Mapping[str, Any]) -> AdaptSettings | None:
    """The zoo's settings with these changes; None if they change nothing."""
    zoo_settings = adapt_settings(zoo)
    values = _written_out(changes, "--adapt ")
    for name in values:
        if name not in AdaptSettings.model_fields:
            near = difflib.get_close_matches(name, AdaptSettings.model_fields, n=1)
            hint = f"did you mean {near[0]}? There are" if near else "there are"
            raise UserError(f"there is no adaptation setting {name!r}: {hint} {', '.join(AdaptSettings.model_fields)}.")
    changed = _checked(AdaptSettings, zoo_settings.model_dump() | values, "--adapt ")
    return None if changed == zoo_settings else changed


def _written_out(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    try:
        return written_out(values)
    except ValueError as error:
        raise UserError(f"{prefix}preset: {error}.") from None


def _checked(model: type[Settings], values: Mapping[str, Any], prefix: str) -> Settings:
    try:
        return model(**values)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(map(str, problem["loc"]))
        message = problem["msg"][0].lower() + problem["msg"][1:]
        raise UserError(f"{prefix}{field.replace('_', '-') if prefix == '--' else field}: {message}.") from None

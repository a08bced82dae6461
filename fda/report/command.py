"""The commands equivalent to a run: every setting of a run has an option."""

import shlex
from collections.abc import Mapping
from typing import Any

from fda.requests.landscape import COARSE
from fda.requests.runs import MAIN_METHODS, changed_adaptation, changed_hyperparameters, with_swept
from fda.requests.unread import adaptation_read_by, read_anchors, work_by_block
from fda.settings import ConstructSettings, Family, LandscapeSettings, is_read, presets
from fda.store.spec import RunSpec
from fda.zoos.zoo import list_zoos


def run_commands(spec: RunSpec, run_id: str = "RUN_ID") -> list[str]:
    """The commands that repeat a spec. `run_id`: the run of `construct`, which `compare` reads anchors from."""
    if spec.landscape is not None:
        return [_landscape(spec, spec.landscape)]
    if spec.published is not None:
        return [_import(spec, spec.published)]
    lines = _demo(spec) if spec.methods and _is_demo(spec) else _construct_and_compare(spec, run_id)
    if spec.coarse_landscape:
        lines.append(coarse_landscape(run_id))
    return lines


def _demo(spec: RunSpec) -> list[str]:
    device = ["--device", spec.device] if spec.device != "auto" else []
    sweep = ["--sweep"] if set(spec.methods) != set(MAIN_METHODS) else []
    return [_line("demo", *_seed(spec), *device, *sweep, *_settings(spec))]


def _construct_and_compare(spec: RunSpec, run_id: str) -> list[str]:
    lines = []
    with_tasks = spec.tasks != spec.zoo.task_names
    if spec.construction is not None:
        changed = changes(spec.construction, spec.zoo.family)
        options = [part for name, value in changed.items() for part in (f"--{name.replace('_', '-')}", str(value))]
        engine = ["--engine", spec.engine] if spec.engine != "local" else []
        engine += ["--address", spec.address] if spec.address is not None else []
        whole = _shared(spec, with_tasks=with_tasks)
        lines.append(_line("construct", *whole, "--preset", spec.construction.preset, *options, *engine))
    if spec.methods:
        source = run_id if spec.construction is not None else spec.anchors_run
        anchors = ["--anchors", source] if source and read_anchors(spec.methods) else []
        methods = ["--methods", ",".join(spec.methods)]
        blocks = spec.blocks if work_by_block(spec.methods) else ()
        whole = _shared(spec.model_copy(update={"blocks": blocks}), with_tasks=with_tasks)
        lines.append(_line("compare", *whole, *anchors, *methods, *_seed(spec), *_settings(spec)))
    return lines


def coarse_landscape(run_id: str) -> str:
    """The command that computes a run's landscape on a coarse grid."""
    return _line("landscape", run_id, *(part for name, value in COARSE.items() for part in (f"--{name}", str(value))))


def changes(settings: ConstructSettings, family: Family = "vision") -> dict[str, object]:
    """The settings that are read and differ from the family's preset."""
    preset = presets(family)[settings.preset].model_dump()
    values = settings.model_dump()
    return {name: value for name, value in values.items() if value != preset[name] and is_read(name, values)}


def _landscape(spec: RunSpec, settings: LandscapeSettings) -> str:
    """Zoo, tasks, blocks, seed and adaptation come from the source run, so no option names them."""
    defaults = {name: field.default for name, field in LandscapeSettings.model_fields.items()}
    options = [
        part
        for name, value in settings.model_dump().items()
        if name != "source" and value != defaults[name]
        for part in (f"--{name}", str(value))
    ]
    device = ["--device", spec.device] if spec.device != "auto" else []
    return _line("landscape", settings.source, *options, *device)


def _import(spec: RunSpec, folder: str) -> str:
    """The files determine the numbers of anchors and tokens; options state the rest, even if the folder's name does too."""
    names = (
        ("init", "sigma", "steps")
        if spec.construction is not None and spec.construction.init == "gauss"
        else ("init", "steps")
    )
    options = [part for name in names if name not in spec.unknown for part in _option(spec, name)]
    return _line("import", folder, *_shared(spec, with_tasks=spec.tasks != spec.zoo.task_names), *options)


def _option(spec: RunSpec, name: str) -> tuple[str, str]:
    return f"--{name}", str(getattr(spec.construction, name))


def _settings(spec: RunSpec) -> list[str]:
    values = changed_hyperparameters(spec)
    hyperparameters = {f"{method}.{name}": value for method, given in values.items() for name, value in given.items()}
    read = adaptation_read_by(spec.methods)
    adapted = {name: value for name, value in changed_adaptation(spec).items() if name in read}
    return [*_assigned("--set", hyperparameters), *_assigned("--adapt", adapted)]


def _assigned(option: str, values: Mapping[str, Any]) -> list[str]:
    return [part for name, value in values.items() for part in (option, f"{name}={value}")]


def _seed(spec: RunSpec) -> list[str]:
    return ["--seed", str(spec.seed)] if spec.seed else []


def _is_demo(spec: RunSpec) -> bool:
    plain = presets(spec.zoo.family)["fast"].model_copy(update={"seed": spec.seed})
    whole = spec.tasks == spec.zoo.task_names and not spec.blocks and spec.engine == "local"
    main = set(spec.methods) in (set(MAIN_METHODS), set(with_swept(MAIN_METHODS)))
    return spec.zoo.name == "demo" and whole and main and spec.construction == plain


def _shared(spec: RunSpec, *, with_tasks: bool) -> list[str]:
    shipped = {str(path): name for name, path in list_zoos().items()}
    parts = ["--zoo", shipped.get(spec.zoo_path, spec.zoo_path)]
    if with_tasks:
        parts += ["--tasks", ",".join(spec.tasks)]
    if spec.blocks:
        parts += ["--blocks", ",".join(map(str, spec.blocks))]
    return parts + (["--device", spec.device] if spec.device != "auto" else [])


def _line(*parts: str) -> str:
    return shlex.join(("python", "-m", "fda", *parts))

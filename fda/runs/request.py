"""Turn what a person asks for, on a page or the command line, into a RunSpec, or into one sentence on what is wrong.

Torch-free: everything that can be known without opening a checkpoint is checked here.
"""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError

from fda.anchors.settings import PRESETS, AdaptSettings, ConstructSettings
from fda.errors import UserError
from fda.merging.registry import METHODS, method
from fda.models.zoo import Zoo, load_zoo, zoo_path
from fda.runs.spec import RunSpec

MAIN_METHODS = ("pretrained", "individual", "average", "ta", "tsv", "fda:pretrained", "fda:ta", "fda:tsv")


def construct_settings(preset: str, **changes: object) -> ConstructSettings:
    """A preset with the changes that are not None. UserError for an unknown preset or a value out of range."""
    if preset not in PRESETS:
        raise UserError(f"there is no preset {preset!r}: choose {' or '.join(PRESETS)}.")
    wanted = {name: value for name, value in changes.items() if value is not None}
    return _checked(ConstructSettings, PRESETS[preset].model_dump() | wanted, "--")


def make_spec(
    zoo: str | Path,
    *,
    tasks: Sequence[str] = (),
    blocks: Sequence[int] = (),
    construct: ConstructSettings | None = None,
    methods: Sequence[str] = (),
    anchors_run: str | None = None,
    device: str = "auto",
    engine: str = "local",
    seed: int = 0,
    roots: list[Path] | None = None,
) -> RunSpec:
    """A checked spec. `roots` as in `load_zoo`: given by pages, left out by the command line."""
    loaded = load_zoo(zoo, roots=roots)
    _check_adapt(loaded, str(zoo))
    chosen = _known_tasks(loaded, tasks)
    names = tuple(method(name).name for name in dict.fromkeys(methods))
    if names:
        names = tuple(dict.fromkeys(("pretrained", "individual", *names)))
        _need_data(loaded, chosen)
    wants_anchors = [name for name in names if METHODS[name].needs == "anchors"]
    if wants_anchors and construct is None and anchors_run is None:
        raise UserError(f"{wants_anchors[0]} needs anchors: name a finished construct run with --anchors RUN_ID.")
    negative = [block for block in blocks if block < 0]
    if negative:
        raise UserError(f"there is no block {negative[0]}: blocks are numbered from 0.")
    return RunSpec(
        zoo=loaded,
        zoo_path=str(zoo_path(zoo)),
        tasks=chosen,
        blocks=tuple(sorted(set(blocks))),
        construction=construct,
        methods=names,
        anchors_run=anchors_run,
        device=device,
        engine=engine,
        seed=seed,
    )


def split_list(text: str | None) -> tuple[str, ...]:
    """`a,b , c` → (a, b, c); nothing → ()."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def split_blocks(text: str | None) -> tuple[int, ...]:
    """`0,2` → (0, 2). UserError for what is not a whole number."""
    for part in split_list(text):
        if not part.isdigit():
            raise UserError(f"{part!r} is not a block number: give numbers from 0, such as --blocks 0,1.")
    return tuple(int(part) for part in split_list(text))


def _known_tasks(zoo: Zoo, wanted: Iterable[str]) -> tuple[str, ...]:
    """The wanted tasks in the zoo's order; all of them if none is named."""
    wanted = tuple(wanted)
    for name in wanted:
        if name not in zoo.task_names:
            near = difflib.get_close_matches(name, zoo.task_names, n=1)
            hint = f"did you mean {near[0]}? It has" if near else "it has"
            raise UserError(f"zoo {zoo.name} has no task {name!r}: {hint} {', '.join(zoo.task_names)}.")
    return tuple(name for name in zoo.task_names if not wanted or name in wanted)


def _need_data(zoo: Zoo, tasks: Sequence[str]) -> None:
    for name in tasks:
        task = zoo.task(name)
        for what, value in (("data", task.data), ("head", task.head)):
            if value is None:
                raise UserError(
                    f"task {name!r} of zoo {zoo.name} has no `{what}`, so methods cannot be scored on it: add it."
                )


def _check_adapt(zoo: Zoo, where: str) -> None:
    _checked(AdaptSettings, dict(zoo.adapt), f"{where}: adapt.")


def _checked(model: type, values: dict, prefix: str):
    try:
        return model(**values)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(map(str, problem["loc"]))
        message = problem["msg"][0].lower() + problem["msg"][1:]
        raise UserError(f"{prefix}{field.replace('_', '-') if prefix == '--' else field}: {message}.") from None

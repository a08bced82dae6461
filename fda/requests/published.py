"""Turn a folder of anchors that others published into a RunSpec of a run that imports them, or into one sentence.

Finds the authors' files by their names: FOLDER/TASK/dual_anchors_layer_N.npy, N from 1. Reading and measuring them is the run's
work (`fda.stages.published`).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from fda.checkpoints.readers.published_anchors import read_published_anchors
from fda.errors import UserError
from fda.requests.runs import construct_settings, known_tasks, make_spec
from fda.store.spec import RunSpec
from fda.zoos.zoo import load_zoo

LAYER = re.compile(r"dual_anchors_layer_(\d+)\.npy")
# The authors keep their settings in the name of the folder above the tasks: init, anchors, σ, steps, learning rate.
SETTINGS = re.compile(
    r"(?:init_by_)?(?P<init>gauss|weight)s?-anchor-(?P<anchors>\d+)-scale-(?P<sigma>[\d.e+-]+?)"
    r"-opt-(?P<steps>\d+)-(?P<learning_rate>[\d.e+-]+)"
)
DEEP = 3  # folders below the given one in which tasks are looked for: model, settings, and one more


def published_spec(
    zoo: str | Path,
    folder: str | Path,
    *,
    tasks: Sequence[str] = (),
    blocks: Sequence[int] = (),
    device: str = "auto",
    **settings: object,
) -> RunSpec:
    """A checked spec of a run that imports the anchors below `folder`. `tasks`, `blocks`: all of the zoo's if left out.

    How they were constructed is taken from `settings` that are not None, else from the folder's name, else from the paper's
    preset of the zoo's family; how many anchors of how many tokens, from the first file.
    UserError if a task's folder is missing or not the only one of its name, and for a first file that holds no anchors.
    """
    loaded = load_zoo(zoo)
    chosen = known_tasks(loaded, tasks)
    found = settings_folder(Path(folder))
    places = task_folders(found, chosen)
    first = layer_file(places[chosen[0]], min(blocks, default=0))
    anchors, tokens, _ = read_published_anchors(first).shape
    told = told_by_name(found.name) | {name: value for name, value in settings.items() if value is not None}
    construct = construct_settings("paper", family=loaded.family, **told | {"anchors": anchors, "tokens": tokens})
    spec = make_spec(zoo, tasks=chosen, blocks=blocks, construct=construct, device=device)
    return spec.model_copy(update={"published": str(found)})


def settings_folder(folder: Path) -> Path:
    """The folder whose subfolders are tasks: the given one, or the only such one not far below it."""
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: give one that holds TASK/dual_anchors_layer_1.npy for each task.")
    level = [folder]
    for _ in range(DEEP):
        fitting = [one for one in level if any(_has_layers(inside) for inside in _folders(one))]
        if len(fitting) > 1:
            names = ", ".join(str(one.relative_to(folder)) for one in fitting)
            raise UserError(f"{folder} holds several sets of anchors ({names}): give the folder of one.")
        if fitting:
            return fitting[0]
        level = [inside for one in level for inside in _folders(one)]
    raise UserError(f"{folder} holds no TASK/dual_anchors_layer_1.npy: give the folder with one subfolder a task.")


def task_folders(folder: Path, tasks: Sequence[str]) -> Mapping[str, Path]:
    """Task → its subfolder: of the same letters and digits, or else the only one whose name ends the task's.

    So `stanford-cars` is found in `Cars`, and `mnist` in `MNIST` or `MNISTVal`, as the authors name them.
    """
    there = {_plain(one.name): one for one in _folders(folder) if _has_layers(one)}
    found: dict[str, Path] = {}
    for task in tasks:
        plain = _plain(task)
        near = [plain] if plain in there else [name for name in there if plain.endswith(name)]
        if len(near) != 1:
            names = ", ".join(sorted(one.name for one in there.values()))
            raise UserError(
                f"{folder} has no folder of task {task!r}: it has {names}; rename the folder after the task, or choose "
                "tasks with --tasks."
            )
        found[task] = there[near[0]]
    folders = list(found.values())
    twice = next((task for task, one in found.items() if folders.count(one) > 1), None)
    if twice:
        raise UserError(f"{found[twice]} stands for more than one task: name the folders after the zoo's tasks.")
    return found


def layer_file(folder: Path, block: int) -> Path:
    """The file of a block; the authors count layers from 1. UserError if it is not there."""
    path = folder / f"dual_anchors_layer_{block + 1}.npy"
    if path.is_file():
        return path
    layers = sorted(int(match[1]) for one in folder.iterdir() if (match := LAYER.fullmatch(one.name)))
    if layers and layers[0] == 0:
        raise UserError(f"{folder} counts layers from 0, where published ones begin with 1: rename its files.")
    raise UserError(
        f"{path} is missing (there are layers {', '.join(map(str, layers))}): add it, or choose blocks with --blocks."
    )


def told_by_name(name: str) -> dict[str, object]:
    """Settings that the name of a folder of the authors tells; none, if it is named otherwise."""
    match = SETTINGS.fullmatch(name)
    return {} if match is None else {key: value for key, value in match.groupdict().items() if key != "anchors"}


def _folders(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.is_dir())


def _has_layers(folder: Path) -> bool:
    return any(LAYER.fullmatch(one.name) for one in folder.iterdir())


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower()).removesuffix("val")

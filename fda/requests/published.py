"""Turn a folder of anchors that others published into a RunSpec of a run that imports them, or into one sentence.

Finds the authors' files by their names, N from 1: SETTINGS/TASK/dual_anchors_layer_N.npy for vision and language understanding,
TASK/SETTINGS/dual_anchors_layer_N.npy for language generation. Reading and measuring them is the run's work
(`fda.stages.published`).
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
# The authors keep their settings in the name of a folder, in two orders:
#   init_by_gauss_random-anchor-64-scale-0.01-opt-1200-0.01             vision, and with _pos behind the start: RoBERTa
#   init_by_weights-scale-0.01-gen-200-lr-0.01-anchor-8192              language generation; the anchors' number may be missing
# Beside the tasks' folders their scripts for images and language understanding write the settings once more, into a text.
NUMBER = r"\d+(?:\.\d*)?(?:e[+-]?\d+)?"
SETTINGS = (
    re.compile(
        rf"(?P<start>\w+)(?:-anchor-\d+)?-scale-(?P<sigma>{NUMBER})-opt-(?P<steps>\d+)-(?P<learning_rate>{NUMBER})"
    ),
    re.compile(
        rf"(?P<start>\w+)-scale-(?P<sigma>{NUMBER})-(?:gen|opt)-(?P<steps>\d+)-lr-(?P<learning_rate>{NUMBER})(?:-anchor-\d+)?"
    ),
)
TEXT = "construct_settings.text"
IN_TEXT = {
    "start": re.compile(r"\binit: (\w+)"),
    "sigma": re.compile(rf"\bscale=({NUMBER})\s"),
    "steps": re.compile(r"\boptimize_steps=(\d{1,9})\s"),
    "learning_rate": re.compile(rf"\blr=({NUMBER})\s"),
    "distance": re.compile(r"\banchor_loss=(cos|mse|l1)\s"),
}
LONGEST_TEXT = 4096  # bytes; theirs has some four hundred
STARTS = {"gauss": "gauss", "random": "gauss", "weight": "weight", "param": "weight"}  # a word in the name → the start
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

    How they were constructed is taken from `settings` that are not None, else from the folder's name, else from its text; how
    many anchors of how many tokens, from the first file. What nobody tells is in the spec's `unknown`, and the paper's value
    stands in for it.
    UserError if a task's folder is missing or not the only one of its name, and for a first file that holds no anchors.
    """
    loaded = load_zoo(zoo)
    chosen = known_tasks(loaded, tasks)
    anchors_folder = settings_folder(Path(folder))
    places = task_folders(anchors_folder, chosen)
    first = layer_file(places[chosen[0]], min(blocks, default=0))
    anchors, tokens, _ = read_published_anchors(first).shape
    known_settings = (
        told_by_text(anchors_folder)
        | told_by_name(anchors_folder.name)
        | {name: value for name, value in settings.items() if value is not None}
    )
    if known_settings.get("init") != "gauss":
        if settings.get("sigma") is not None:
            raise UserError("sigma is the scale of the gauss start: add --init gauss, or leave --sigma out.")
        known_settings.pop("sigma", None)
    construct = construct_settings(
        "paper", family=loaded.family, **known_settings | {"anchors": anchors, "tokens": tokens}
    )
    spec = make_spec(zoo, tasks=chosen, blocks=blocks, construct=construct, device=device)
    return spec.model_copy(update={"published": str(anchors_folder), "unknown": _unknown(known_settings)})


def _unknown(known_settings: Mapping[str, object]) -> tuple[str, ...]:
    """Settings that published anchors are described by and that nobody told. Only a gauss start has a σ."""
    names = ("init", "sigma", "steps") if known_settings.get("init") == "gauss" else ("init", "steps")
    return tuple(name for name in names if name not in known_settings)


def settings_folder(folder: Path) -> Path:
    """The folder that stands for one set of anchors: the given one, or the only such one not far below it.

    Its subfolders are tasks; or, as in language generation, it is the settings' folder of one task, and those of the other
    tasks have the same name.
    """
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: give one that holds TASK/dual_anchors_layer_1.npy for each task.")
    if _has_layers(folder) and told_by_name(folder.name):
        return folder
    level = [folder]
    for _ in range(DEEP):
        fitting = [one for above in level for one in _sets(above)]
        if len(fitting) > 1:
            names = ", ".join(str(one.relative_to(folder)) for one in fitting)
            raise UserError(f"{folder} holds several sets of anchors ({names}): give the folder of one.")
        if fitting:
            return fitting[0]
        level = [inside for one in level for inside in _folders(one)]
    raise UserError(f"{folder} holds no TASK/dual_anchors_layer_1.npy: give the folder with one subfolder a task.")


def _sets(folder: Path) -> list[Path]:
    """The sets whose tasks are the subfolders of `folder`: itself, or for each name of settings in them the first one's.

    Of a single task's folder, its settings' folders.
    """
    if any(_has_layers(inside) and not told_by_name(inside.name) for inside in _folders(folder)):
        return [folder]
    below = [*_folders(folder), *(inside for task in _folders(folder) for inside in _folders(task))]
    by_name = {one.name: one for one in reversed(below) if told_by_name(one.name) and _has_layers(one)}
    return [by_name[name] for name in sorted(by_name)]


def task_folders(folder: Path, tasks: Sequence[str]) -> Mapping[str, Path]:
    """Task → its folder in a set: of the same letters and digits, or else the only one whose name ends the task's.

    So `stanford-cars` is found in `Cars`, and `mnist` in `MNIST` or `MNISTVal`, as the authors name them.
    """
    named = _named_by_task(folder)
    there = {_plain(name): name for name in named}
    folder_of: dict[str, Path] = {}
    for task in tasks:
        plain = _plain(task)
        near = [plain] if plain in there else [name for name in there if plain.endswith(name)]
        if len(near) != 1:
            raise UserError(
                f"{folder} has no folder of task {task!r}: it has {', '.join(sorted(named))}; rename the folder after the "
                "task, or choose tasks with --tasks."
            )
        folder_of[task] = named[there[near[0]]]
    folders = list(folder_of.values())
    twice = next((task for task, one in folder_of.items() if folders.count(one) > 1), None)
    if twice:
        raise UserError(f"{folder_of[twice]} stands for more than one task: name the folders after the zoo's tasks.")
    return folder_of


def _named_by_task(folder: Path) -> dict[str, Path]:
    """The authors' name of a task → where its files are, of the set that `folder` stands for."""
    if not _has_layers(folder):
        return {one.name: one for one in _folders(folder) if _has_layers(one)}
    beside = {task.name: task / folder.name for task in _folders(folder.parent.parent)}
    return {name: one for name, one in beside.items() if one.is_dir() and _has_layers(one)}


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
    """Settings that the name of a folder of the authors tells; none, if it is named otherwise. Only a gauss start has a σ."""
    match = next((match for pattern in SETTINGS if (match := pattern.fullmatch(name))), None)
    if match is None:
        return {}
    return _with_start(match["start"], match.groupdict())


def told_by_text(folder: Path) -> dict[str, object]:
    """Settings that the authors' text in the folder tells, the distance among them; none, if there is no such text."""
    try:
        with (folder / TEXT).open("rb") as file:
            text = file.read(LONGEST_TEXT).decode("utf-8", "replace")
    except OSError:
        return {}
    settings = {name: match[1] for name, pattern in IN_TEXT.items() if (match := pattern.search(text))}
    return _with_start(settings.get("start", ""), settings)


def _with_start(start: str, settings: Mapping[str, str]) -> dict[str, object]:
    """`settings` with the start that its word names as `init`, without σ where it is not of a gauss start."""
    starts = {known for word, known in STARTS.items() if word in start}
    named: dict[str, object] = {"init": starts.pop()} if len(starts) == 1 else {}
    left_out = {"start"} if named.get("init") == "gauss" else {"start", "sigma"}
    return named | {name: value for name, value in settings.items() if name not in left_out}


def _folders(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.is_dir())


def _has_layers(folder: Path) -> bool:
    return any(LAYER.fullmatch(one.name) for one in folder.iterdir())


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower()).removesuffix("val")

"""Which class of a head a label of the data means. Where both name their classes, names decide, not numbers.

Knows names alone: `fda.tasks.data` reads the data's, and here a task's own classes are found in its zoo entry or its config.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from fda.checkpoints.json_files import read_json
from fda.checkpoints.readers.open import open_weights
from fda.errors import UserError
from fda.zoos.hub import is_hub_id, snapshot_folder
from fda.zoos.zoo import ZooTask

Names = tuple[str, ...]
PLACEHOLDER = re.compile(r"label[ _-]?\d+", re.IGNORECASE)
SHOWN = 8  # names that a sentence lists


def same_name(name: str) -> str:
    """What is equal of names that mean one class: `Not_Entailment`, `not entailment`."""
    return " ".join(re.split(r"[\s_-]+", name.strip().casefold()))


def named(names: Names | None) -> bool:
    """Whether there are names, and not LABEL_0, LABEL_1 …, as a config has where nobody named its classes."""
    return names is not None and not all(PLACEHOLDER.fullmatch(name) for name in names)


def places(data: Names | None, head: Names | None) -> tuple[int, ...] | None:
    """Of each class of the data, its number in the head; None where its own number is taken.

    By name, where all names of the data are among the head's. UserError where only some are, and one of these has another
    number there: taken by number, its samples would be scored as another class.
    """
    if not _comparable(data, head):
        return None
    own, theirs = _plain(data), _plain(head)
    if own == theirs[: len(own)]:
        return None
    if set(own) <= set(theirs) and len(set(own)) == len(own) and len(set(theirs)) == len(theirs):
        return tuple(theirs.index(name) for name in own)
    moved = [place for place, name in enumerate(own) if name in theirs and theirs[place : place + 1] != [name]]
    if moved:
        raise UserError(
            f"class {moved[0]} of the data is {data[moved[0]]!r}, class {theirs.index(own[moved[0]])} of the head is too, and "
            f"not all classes of the data ({listed(data)}) are the head's ({listed(head)}): give both the same names."
        )
    return None


def labels_note(data: Names | None, head: Names | None, size: int | None = None) -> str | None:
    """A sentence where labels are not simply the head's numbers, or may not be; None where all is as it should be.

    `size`: how many classes the head has, where it is known; of a head that gives numbers 1.
    """
    if not _comparable(data, head):
        return _unnamed_note(data, head, size)
    said = f"the data's classes are {listed(data)}, the head's {listed(head)}"
    if places(data, head) is not None:
        return f"labels are taken by name: {said}."
    if _plain(data) == _plain(head)[: len(data)]:
        return None
    return f"labels are taken by number, since names differ: {said}; make sure that both are in one order."


def _unnamed_note(data: Names | None, head: Names | None, size: int | None) -> str | None:
    """Where the data name their classes in words and the head does not, their order is taken on trust."""
    if not named(data) or size == 1 or _counted(data):
        return None
    if head is not None and _counted(head) and len(head) == len(data):
        return None
    whose = "the head's" if size is None else f"the head's {size}"
    return (
        f"labels are taken by number, since {whose} classes have no names: the data's classes are {listed(data)}; make sure "
        "that the head has them in this order, or name its classes (`label2id` of the checkpoint, or `classes` in the "
        "metadata of the head file, a JSON list)."
    )


def _comparable(data: Names | None, head: Names | None) -> bool:
    """Whether names say anything: both sides have some, and not one the numbers 0, 1 … in their order, the other words."""
    if not (named(data) and named(head)):
        return False
    counted = _counted(data) or _counted(head)
    return not counted or not set(_plain(data)).isdisjoint(_plain(head))


def _counted(names: Names) -> bool:
    """Whether the names are the numbers 0, 1 … in their order, which say no more than numbers do."""
    return _plain(names) == [str(number) for number in range(len(names))]


def _plain(names: Names) -> list[str]:
    return [same_name(one) for one in names]


def listed(names: Names) -> str:
    return ", ".join(names[:SHOWN]) + (f" … ({len(names)})" if len(names) > SHOWN else "")


def head_classes(task: ZooTask) -> Names | None:
    """A head's classes in its order, where the zoo, the head file or the checkpoint's config names them.

    A head file may list them in its metadata, as `classes`; of one that does not, the config of the checkpoint speaks if it has
    as many. UserError if a config contradicts itself.
    """
    if task.head is not None and not isinstance(task.head, str):
        return task.head.zero_shot.classes
    if isinstance(task.head, str) and (listed_there := _of_head_file(task.head)) is not None:
        return listed_there
    found = _of_config(task.model)
    if isinstance(task.head, str) and found is not None:
        return found if head_size(task) == len(found) else None
    return found


def head_size(task: ZooTask) -> int | None:
    """How many classes a head has; None where only its checkpoint's tensors tell, or where it cannot be read."""
    if task.head is not None and not isinstance(task.head, str):
        return len(task.head.zero_shot.classes)
    if isinstance(task.head, str):
        with suppress(UserError):  # which reading the head will say
            weight = open_weights(task.head).header.get("weight")
            return None if weight is None else weight.shape[0]
        return None
    found = _of_config(task.model)
    return None if found is None else len(found)


def _of_head_file(path: str) -> Names | None:
    """The names in the metadata of a safetensors file, if they are as many as its rows."""
    try:
        with safe_open(path, "np") as file:
            names = json.loads((file.metadata() or {})["classes"])
            rows = file.get_slice("weight").get_shape()[0]
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RecursionError):
        return None
    whole = isinstance(names, list) and len(names) == rows and all(isinstance(name, str) for name in names)
    return tuple(names) if whole else None


def _of_config(model: str) -> Names | None:
    folder = snapshot_folder(model) if is_hub_id(model) else Path(model)
    try:
        config = read_json(folder / "config.json")
        by_number, by_name = (_ordered(config, field) for field in ("id2label", "label2id"))
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    if named(by_number) and named(by_name) and by_number != by_name:
        raise UserError(
            f"{folder / 'config.json'}: id2label ({listed(by_number)}) and label2id ({listed(by_name)}) say different things: "
            "correct one of them."
        )
    return by_number if named(by_number) or by_name is None else by_name


def _ordered(config: Mapping[str, Any], field: str) -> Names | None:
    """The names by their numbers, from 0 without gaps; None for anything else."""
    pairs = (config.get(field) or {}).items()
    names = {int(number): str(name) for number, name in (pairs if field == "id2label" else ((n, i) for i, n in pairs))}
    return tuple(map(names.get, range(len(names)))) if names and set(names) == set(range(len(names))) else None

"""Maps the classes of the data to the classes of a head: by name where both name their classes, else by number.

`fda.tasks.data` reads the names in the data; this module reads a head's names from the zoo file, the head file or the
checkpoint's config.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeGuard

from safetensors import SafetensorError, safe_open

from fda.checkpoints.json_files import read_json
from fda.checkpoints.readers.open import open_weights
from fda.errors import UserError
from fda.zoos.hub import is_hub_id, snapshot_folder
from fda.zoos.zoo import ZooTask

Names = tuple[str, ...]
PLACEHOLDER = re.compile(r"label[ _-]?\d+", re.IGNORECASE)
SHOWN = 8  # names listed in a message


def canonical_name(name: str) -> str:
    """One spelling for all names of a class: `Not_Entailment` and `not entailment` give `not entailment`."""
    return " ".join(re.split(r"[\s_-]+", name.strip().casefold()))


def named(names: Names | None) -> TypeGuard[Names]:
    """Whether classes have names other than the placeholders LABEL_0, LABEL_1 … of a config."""
    return names is not None and not all(PLACEHOLDER.fullmatch(name) for name in names)


def head_numbers(data: Names | None, head: Names | None) -> tuple[int, ...] | None:
    """For each class of the data its number in the head, by name; None if labels keep their numbers.

    By name if the head has all names of the data. UserError if it has only some, and one of these has another number in the
    head: by number, its samples would be scored as another class.
    """
    if not (named(data) and named(head) and _comparable(data, head)):
        return None
    data_names, head_names = _canonical(data), _canonical(head)
    if data_names == head_names[: len(data_names)]:
        return None
    unique = len(set(data_names)) == len(data_names) and len(set(head_names)) == len(head_names)
    if unique and set(data_names) <= set(head_names):
        return tuple(head_names.index(name) for name in data_names)
    moved = next(
        (i for i, name in enumerate(data_names) if name in head_names and head_names[i : i + 1] != [name]), None
    )
    if moved is not None:
        raise UserError(
            f"class {moved} of the data is {data[moved]!r}, class {head_names.index(data_names[moved])} of the head is too, "
            f"and not all classes of the data ({listed(data)}) are the head's ({listed(head)}): give both the same names."
        )
    return None


def labels_note(data: Names | None, head: Names | None, size: int | None = None) -> str | None:
    """A sentence if labels are mapped by name, or if their order in the head is uncertain; else None.

    `size`: the number of the head's classes, if known; 1 for a head that gives a number.
    """
    if not (named(data) and named(head) and _comparable(data, head)):
        return _unnamed_note(data, head, size)
    classes = f"the data's classes are {listed(data)}, the head's {listed(head)}"
    if head_numbers(data, head) is not None:
        return f"labels are taken by name: {classes}."
    if _canonical(data) == _canonical(head)[: len(data)]:
        return None
    return f"labels are taken by number, since names differ: {classes}; make sure that both are in one order."


def _unnamed_note(data: Names | None, head: Names | None, size: int | None) -> str | None:
    """A sentence if the data name their classes in words and the head does not: their order is then an assumption."""
    if not named(data) or size == 1 or _counted(data):
        return None
    if head is not None and _counted(head) and len(head) == len(data):
        return None
    subject = "the head's" if size is None else f"the head's {size}"
    return (
        f"labels are taken by number, since {subject} classes have no names: the data's classes are {listed(data)}; make sure "
        "that the head has them in this order, or name its classes (`label2id` of the checkpoint, or `classes` in the "
        "metadata of the head file, a JSON list)."
    )


def _comparable(data: Names, head: Names) -> bool:
    """Whether names can be compared: not if one side has words and the other the numbers 0, 1 … in order."""
    counted = _counted(data) or _counted(head)
    return not counted or not set(_canonical(data)).isdisjoint(_canonical(head))


def _counted(names: Names) -> bool:
    """Whether the names are the numbers 0, 1 … in order, and so add nothing to numbers."""
    return _canonical(names) == [str(number) for number in range(len(names))]


def _canonical(names: Names) -> list[str]:
    return [canonical_name(name) for name in names]


def listed(names: Names) -> str:
    """The first `SHOWN` names, for a message."""
    return ", ".join(names[:SHOWN]) + (f" … ({len(names)})" if len(names) > SHOWN else "")


def head_classes(task: ZooTask) -> Names | None:
    """A head's classes by number, from the zoo file, the head file or the checkpoint's config; None if none names them.

    A head file may list them in its metadata as `classes`. For one that does not, the checkpoint's config counts if it has the
    same number of classes. UserError if a config contradicts itself.
    """
    if task.head is not None and not isinstance(task.head, str):
        return task.head.zero_shot.classes
    if isinstance(task.head, str) and (names := _of_head_file(task.head)) is not None:
        return names
    names = _of_config(task.model)
    if isinstance(task.head, str) and names is not None and head_size(task) != len(names):
        return None
    return names


def head_size(task: ZooTask) -> int | None:
    """The number of a head's classes; None if only the checkpoint's tensors tell it, or if the head cannot be read."""
    if task.head is not None and not isinstance(task.head, str):
        return len(task.head.zero_shot.classes)
    if isinstance(task.head, str):
        with suppress(UserError):  # loading the head raises it again
            weight = open_weights(task.head).header.get("weight")
            return None if weight is None else weight.shape[0]
        return None
    names = _of_config(task.model)
    return None if names is None else len(names)


def _of_head_file(path: str) -> Names | None:
    """The names in the metadata of a safetensors file, if there is one per row of its weight."""
    try:
        with safe_open(path, "np") as file:
            names = json.loads((file.metadata() or {})["classes"])
            rows = file.get_slice("weight").get_shape()[0]
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RecursionError):
        return None
    valid = isinstance(names, list) and len(names) == rows and all(isinstance(name, str) for name in names)
    return tuple(names) if valid else None


def _of_config(model: str) -> Names | None:
    folder = snapshot_folder(model) if is_hub_id(model) else Path(model)
    if folder is None:  # not downloaded yet
        return None
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
    """The names in the order of their numbers, which must run from 0 without gaps; else None."""
    pairs = (config.get(field) or {}).items()
    names = {int(number): str(name) for number, name in (pairs if field == "id2label" else ((n, i) for i, n in pairs))}
    if not names or set(names) != set(range(len(names))):
        return None
    return tuple(names[number] for number in range(len(names)))

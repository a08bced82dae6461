"""Which class of a head a label of the data means. Where both name their classes, names decide, not numbers.

Knows names alone: `fda.tasks.data` reads the data's, and here a task's own classes are found in its zoo entry or its config.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

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


def told_names(names: Names | None) -> bool:
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


def labels_note(data: Names | None, head: Names | None) -> str | None:
    """A sentence where labels are not simply the head's numbers, or may not be; None where all is as it should be."""
    if not _comparable(data, head):
        return None
    told = f"the data's classes are {listed(data)}, the head's {listed(head)}"
    if places(data, head) is not None:
        return f"labels are taken by name: {told}."
    if _plain(data) == _plain(head)[: len(data)]:
        return None
    return f"labels are taken by number, since names differ: {told}; make sure that both are in one order."


def _comparable(data: Names | None, head: Names | None) -> bool:
    """Whether names say anything: both sides have some, and not one the numbers 0, 1 … in their order, the other words."""
    if not (told_names(data) and told_names(head)):
        return False
    own, theirs = _plain(data), _plain(head)
    counted = any(names == [str(place) for place in range(len(names))] for names in (own, theirs))
    return not counted or not set(own).isdisjoint(theirs)


def _plain(names: Names) -> list[str]:
    return [same_name(one) for one in names]


def numbered(values: Sequence[str], column: str, head: Names | None) -> list[int]:
    """Labels that are names, as numbers of the head. UserError without classes, or for a name that is none of them."""
    if head is None:
        raise UserError(
            f"the column {column!r} holds class names, but neither the data nor the head says in which order: give "
            "numbers, or save the checkpoint with `label2id`."
        )
    numbers = {same_name(name): place for place, name in enumerate(head)}
    found = [numbers.get(same_name(str(value))) for value in values]
    if None in found:
        raise UserError(f"the label {values[found.index(None)]!r} is none of the head's classes ({listed(head)}).")
    return found


def listed(names: Names) -> str:
    return ", ".join(names[:SHOWN]) + (f" … ({len(names)})" if len(names) > SHOWN else "")


def head_classes(task: ZooTask) -> Names | None:
    """A head's classes in its order, where the zoo or the checkpoint's config names them.

    A head file names none: the config of the checkpoint speaks for it if it has as many classes. UserError if a config
    contradicts itself.
    """
    if task.head is not None and not isinstance(task.head, str):
        return task.head.zero_shot.classes
    found = _of_config(task.model)
    if isinstance(task.head, str) and found is not None:
        with suppress(UserError):  # which reading the head will say
            weight = open_weights(task.head).header.get("weight")
            return found if weight is not None and weight.shape[0] == len(found) else None
    return found


def _of_config(model: str) -> Names | None:
    folder = snapshot_folder(model) if is_hub_id(model) else Path(model)
    try:
        config = read_json(folder / "config.json")
        by_number, by_name = (_ordered(config, field) for field in ("id2label", "label2id"))
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    if told_names(by_number) and told_names(by_name) and by_number != by_name:
        raise UserError(
            f"{folder / 'config.json'}: id2label ({listed(by_number)}) and label2id ({listed(by_name)}) say different things: "
            "correct one of them."
        )
    return by_number if told_names(by_number) or by_name is None else by_name


def _ordered(config: Mapping[str, Any], field: str) -> Names | None:
    """The names by their numbers, from 0 without gaps; None for anything else."""
    pairs = (config.get(field) or {}).items()
    names = {int(number): str(name) for number, name in (pairs if field == "id2label" else ((n, i) for i, n in pairs))}
    return tuple(map(names.get, range(len(names)))) if names and set(names) == set(range(len(names))) else None

"""Fill a task's keys into a zoo file, which keeps its comments and its order."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from fda.atomic import write_text
from fda.errors import UserError


def fill_in(path: Path, task: str, keys: Mapping[str, str]) -> None:
    """Write `keys`, none of which the task has, before the task's first key. UserError if the file is not a zoo's any more."""
    text = path.read_text(encoding="utf-8-sig")
    node = _task(yaml.compose(text, yaml.SafeLoader), task)
    if node is None:
        raise UserError(f"{path} has no task {task!r} any more: it was changed meanwhile.")
    first = node.value[0][0].start_mark
    end = ", " if node.flow_style else "\n" + " " * first.column
    lines = "".join(f"{key}: {yaml.safe_dump(value, width=2**20).splitlines()[0]}{end}" for key, value in keys.items())
    write_text(path, text[: first.index] + lines + text[first.index :])


def _task(root: yaml.Node | None, name: str) -> yaml.MappingNode | None:
    """The node of the task of this name."""
    for key, tasks in root.value if isinstance(root, yaml.MappingNode) else ():
        if key.value == "tasks" and isinstance(tasks, yaml.SequenceNode):
            for node in tasks.value:
                if any(key.value == "name" and value.value == name for key, value in node.value):
                    return node
    return None

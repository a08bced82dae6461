"""What tells that the files of a zoo are those of before: sizes and times of change, read without opening a file."""

import os
from contextlib import suppress
from pathlib import Path

from fda.zoos.zoo import Zoo

Stamps = tuple[tuple[str, int, int], ...]


def stamps(path: Path, zoo: Zoo) -> Stamps:
    """(file, size, time of change) of the zoo file, its checkpoints, heads and data. What is still on the hub is left out."""
    places = [path, Path(zoo.base.model), *(Path(task.model) for task in zoo.tasks)]
    places += [Path(task.head) for task in zoo.tasks if isinstance(task.head, str)]
    places += [Path(task.data.path) for task in zoo.tasks if task.data is not None]
    found = []
    for place in (one for one in places if one.is_absolute()):  # a hub id is no place here
        for file in sorted(place.iterdir()) if os.path.isdir(place) else [place]:
            with suppress(OSError):  # a link that leads nowhere
                state = file.stat()
                name = os.fsencode(file).decode("utf-8", "backslashreplace")  # it becomes the key of a cache
                found.append((name, state.st_size, state.st_mtime_ns))
    return tuple(found)

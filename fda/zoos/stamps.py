"""Detects whether a zoo's files have changed, by size and mtime."""

import os
from contextlib import suppress
from pathlib import Path

from fda.zoos.zoo import Zoo

Stamps = tuple[tuple[str, int, int], ...]


def stamps(path: Path, zoo: Zoo) -> Stamps:
    """Return (file, size, mtime) of the zoo file and of its local checkpoints, heads and data. Opens no file."""
    paths = [path, Path(zoo.base.model), *(Path(task.model) for task in zoo.tasks)]
    paths += [Path(task.head) for task in zoo.tasks if isinstance(task.head, str)]
    paths += [Path(task.data.path) for task in zoo.tasks if task.data is not None]
    files = []
    for location in (path for path in paths if path.is_absolute()):  # hub ids are relative
        for file in sorted(location.iterdir()) if os.path.isdir(location) else [location]:
            with suppress(OSError):  # a dangling link
                state = file.stat()
                name = os.fsencode(file).decode("utf-8", "backslashreplace")  # part of a cache's key
                files.append((name, state.st_size, state.st_mtime_ns))
    return tuple(files)

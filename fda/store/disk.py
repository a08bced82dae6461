"""The disk space that the folders of runs take. Counts of folders that have not changed are kept in memory."""

import os
from functools import lru_cache
from pathlib import Path


def bytes_below(folder: Path, *, at_work: bool = False) -> int:
    """Bytes of all files in a run's folder; 0 if it is missing.

    `at_work`: a worker may write into it, so it is counted anew; else only if its own entries have changed since.
    """
    if at_work:
        return _count(folder)
    return _unchanged(folder, _state(folder))


def _state(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, mtime and size of each entry: a folder's mtime changes when a file in it is made or removed."""
    try:
        with os.scandir(folder) as entries:
            stats = ((one.name, one.stat(follow_symlinks=False)) for one in entries)
            return tuple(sorted((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats))
    except OSError:  # removed meanwhile
        return ()


@lru_cache(maxsize=4096)
def _unchanged(folder: Path, state: tuple[tuple[str, int, int], ...]) -> int:
    return _count(folder)


def _count(folder: Path) -> int:
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except OSError:  # removed meanwhile
                continue
    return total

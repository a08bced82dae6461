"""Atomic file writes: a reader sees the old file or the complete new one, which survives a power failure."""

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil

_PART = re.compile(r"\..+\.([0-9]+)-[0-9]+\.part")  # the name of a temporary file, with its process


@contextlib.contextmanager
def whole_file(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Yield a temporary path to write to; when the block ends, sync that file and move it to `path`.

    If the block raises, the temporary file is deleted and `path` keeps its old content. With `replace=False`, an existing file
    is kept and FileExistsError raised. The folder is created if missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")  # threads may write the same path
    try:
        yield part
        sync(part)
        if replace:
            os.replace(part, path)
        else:
            os.link(part, path)  # unlike a rename, a link never replaces a file
        with contextlib.suppress(OSError):  # some file systems cannot sync a folder
            sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, replace: bool = True) -> None:
    """Write a text file atomically; `replace` as in `whole_file`."""
    with whole_file(path, replace=replace) as part:
        part.write_text(text, encoding="utf-8")


def sync(path: Path) -> None:
    """Flush a file or folder to the disk, so that it survives a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unfinished_files(folder: Path) -> Iterator[Path]:
    """Temporary files of `whole_file` below a folder whose process was killed: nobody will finish or remove them."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if (match := _PART.fullmatch(name)) and not _may_finish(int(match[1]), path):
                yield path


def _may_finish(pid: int, path: Path) -> bool:
    """Whether the process exists and is older than the file: the numbers of processes are used again."""
    try:
        return psutil.Process(pid).create_time() <= path.stat().st_mtime + 1
    except (psutil.Error, OSError):
        return False

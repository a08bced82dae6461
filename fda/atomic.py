"""Atomic file writes: a reader sees the old file or the complete new one, which survives a power failure."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path


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

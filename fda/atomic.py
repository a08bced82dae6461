"""Write a file whole or not at all, synced to disk before it appears. The only atomic write of the package."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_file(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Yield a temporary path to write to; when the block ends, sync that file and move it to `path`.

    The file at `path` stays until then. If the block raises, the temporary file is removed. With `replace=False`, an existing
    file at `path` is kept and FileExistsError raised. Missing folders are created.
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
    """Write a UTF-8 text file whole or not at all; see `whole_file`."""
    with whole_file(path, replace=replace) as part:
        part.write_text(text, encoding="utf-8")


def sync(path: Path) -> None:
    """Flush a file or folder to disk, so that it survives a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

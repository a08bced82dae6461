"""Disk space that a worker reserves at its start, so that it can record how it ended when the disk is full."""

import contextlib
import os
from pathlib import Path

BYTES = 256 << 10  # enough for a few pages of the store and a traceback in log.txt


class Reserve:
    """Context manager around a worker's life: a file in the run's folder, left out if the disk is full already."""

    def __init__(self, run_dir: Path) -> None:
        self._file = run_dir / ".reserve"

    def __enter__(self) -> "Reserve":
        with contextlib.suppress(OSError), self._file.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, BYTES)
            else:
                file.write(bytes(BYTES))
        return self

    def __exit__(self, *_: object) -> None:
        self.give()

    def give(self) -> None:
        """Free the space."""
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)

"""A little room on the disk that a worker keeps from its start, so that it can say how it ended when the disk is full."""

import contextlib
import os
from pathlib import Path

BYTES = 256 << 10  # the last words take a few pages of the store and a traceback in log.txt


class Reserve:
    """Context manager around a worker's life: a file in the run's folder. Without room for it there is none."""

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
        """Make the room free."""
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)

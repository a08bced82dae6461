"""Speeds up start and exit of Python processes that import torch."""

import atexit
import contextlib
import gc
import os
import sys
from typing import NoReturn

from fda.home import fda_home, write_privately

ALLOCATIONS = 20_000  # between two garbage collections; with Python's 700 each import scans all modules again and again


def begin() -> None:
    """Call this first: files become private, garbage collection rare, and torch's compile cache goes to FDA_HOME.

    torch reads the location of that cache when `torch._dynamo` is imported.
    """
    write_privately()
    gc.set_threshold(ALLOCATIONS)
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(fda_home() / "cache" / "compiled"))


def leave(code: int) -> NoReturn:
    """Call this last: end the process with this exit code, without tearing down imported modules."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # its reader is gone, or it was closed
            stream.flush()
    os._exit(code)

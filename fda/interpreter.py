"""Speeds up the start and the exit of our processes.

On 2 cores the main job took 61 and 65 s before this was added and 52 to 55 s after (limit 60 s; docs/results.md).
"""

import atexit
import contextlib
import gc
import os
import sys
from typing import NoReturn

from fda.home import fda_home, write_privately

ALLOCATIONS = 20_000  # before a garbage collection; with Python's 700 imports spend seconds in collections


def begin() -> None:
    """Call before torch is imported: write files for their owner alone, collect garbage rarely, keep compiled code in FDA_HOME.

    torch reads the folder of its compiled code when `torch._dynamo` is imported.
    """
    write_privately()
    gc.set_threshold(ALLOCATIONS)
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(fda_home() / "cache" / "compiled"))


def leave(code: int) -> NoReturn:
    """End the process with this exit code, without freeing every imported module.

    Exit functions run and both streams are flushed, as in an ordinary exit.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # its reader is gone, or it is closed
            stream.flush()
    os._exit(code)

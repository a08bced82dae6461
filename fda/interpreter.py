"""How a Python process that imports torch begins and ends: each takes seconds for which somebody would wait in vain."""

import atexit
import contextlib
import gc
import os
import sys
from typing import NoReturn

from fda.home import fda_home, write_privately

ALLOCATIONS = 20_000  # between two looks for garbage; Python's 700 looks through all that is imported again and again


def begin() -> None:
    """First of all: write for the owner alone, collect garbage seldom, and let torch keep in FDA_HOME what it compiles, for
    later runs, which it settles when `torch._dynamo` is imported.
    """
    write_privately()
    gc.set_threshold(ALLOCATIONS)
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(fda_home() / "cache" / "compiled"))


def leave(code: int) -> NoReturn:
    """Last of all: end with this exit code, without taking apart all that was imported."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # its reader is gone, or it was closed
            stream.flush()
    os._exit(code)

"""Keep the server small: what it frees goes back to the system.

Each page load sends plotly.js, 5 MB. glibc would keep such pieces in a heap for each thread: 290 MB after some visits, not 220.
"""

import ctypes
from contextlib import suppress
from functools import cache

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # of glibc's malloc.h
LARGE = 1 << 20  # bytes from which a piece is given back alone; setting it stops glibc from raising it
ARENAS = 2


@cache
def give_memory_back() -> None:
    """Works once, for the process. Does nothing where the C library is not glibc."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, LARGE)
        mallopt(M_ARENA_MAX, ARENAS)

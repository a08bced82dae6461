"""Time stamps from the machine's monotonic clock, valid across processes: seconds since boot, with the id of that boot.

All processes of a machine share this clock, so one process can measure the age of another's stamp. Nobody can set it, and it
stops while the machine sleeps. Wall time is for display only.
"""

import math
import time
from functools import cache
from pathlib import Path


def stamp() -> str:
    """Return a stamp of this moment, for `seconds_since`."""
    return f"{_boot()} {time.monotonic():.3f}"


def seconds_since(stamped: str | None) -> float:
    """Return the seconds since a `stamp`; infinity for a stamp from an earlier boot, and for text that is no stamp."""
    boot, _, seconds = (stamped or "").partition(" ")
    try:
        elapsed = time.monotonic() - float(seconds)
    except ValueError:
        return math.inf
    return elapsed if boot == _boot() and elapsed >= -1 else math.inf


@cache
def _boot() -> str:
    """Return the id of this boot; `-` on systems without one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip() or "-"
    except OSError:
        return "-"

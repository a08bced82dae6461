"""Moments by a clock that nobody can set: seconds since the machine started, beside which start that was.

The same clock for all processes of the machine, so what one process stamped another can judge, even one that lives for a
moment only. It stands still while the machine sleeps, when nobody works. Wall times are for showing, never for judging.
"""

import math
import time
from functools import cache
from pathlib import Path


def stamp() -> str:
    """This moment, for `seconds_since`."""
    return f"{_boot()} {time.monotonic():.3f}"


def seconds_since(stamped: str | None) -> float:
    """Seconds from a `stamp` until now; infinity for one made before the machine started, or for a text that is none."""
    boot, _, moment = (stamped or "").partition(" ")
    try:
        passed = time.monotonic() - float(moment)
    except ValueError:
        return math.inf
    return passed if boot == _boot() and passed >= -1 else math.inf


@cache
def _boot() -> str:
    """Which start of the machine this is; `-` where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip() or "-"
    except OSError:
        return "-"

"""Memory and CPU that each child process may take, on a machine that others use too. Off unless a variable is set.

    FDA_CHILD_GB    GB (10⁹ bytes) of data: heap and private mappings (RLIMIT_DATA)
    FDA_CHILD_CPUS  cores it may run on: the first ones, which all children share
    FDA_CHILD_NICE  how much it gives way to others, 1 to 19

The parent sets them right after the start, while the child still has one thread; the child's own children inherit them. Linux
only: elsewhere they are ignored. For the server and all its children together use the limits of systemd (docs/deploy.md).
"""

import contextlib
import os
from collections.abc import Callable

from fda.errors import UserError

HIGHEST_NICE = 19


def child_limits() -> Callable[[int], None]:
    """A function that limits the child of this process id as the environment says. UserError for a value that is no number."""
    memory, cpus, nice = (_number(name) for name in ("FDA_CHILD_GB", "FDA_CHILD_CPUS", "FDA_CHILD_NICE"))

    def limit(pid: int) -> None:
        if not hasattr(os, "sched_setaffinity"):
            return
        import resource

        with contextlib.suppress(ProcessLookupError):  # it has ended already
            if memory is not None:
                most = int(memory * 1e9)
                resource.prlimit(pid, resource.RLIMIT_DATA, (most, most))
            if cpus is not None:
                os.sched_setaffinity(pid, sorted(os.sched_getaffinity(pid))[: max(1, int(cpus))])
            if nice is not None:
                os.setpriority(os.PRIO_PROCESS, pid, min(int(nice), HIGHEST_NICE))

    return limit


def _number(name: str) -> float | None:
    text = os.environ.get(name)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise UserError(f"{name} is {text!r}: set it to a number above 0, or leave it out.")
    return value

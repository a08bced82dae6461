"""An exception in words a user can act on, and its traceback in the run's log."""

import contextlib
import traceback

from fda.errors import UserError, readable
from fda.store.refusals import is_full
from fda.store.store import Store


def sentence(error: BaseException, store: Store) -> str:
    """One sentence; a UserError is one already."""
    text = str(error)
    if isinstance(error, UserError):
        return text
    if is_full(error):
        return f"the disk is full: free space in {store.home} and resume."
    if type(error).__name__ == "OutOfMemoryError":  # torch's, by name: torch may not be imported
        return "the device ran out of memory: choose fewer anchors or the cpu, or free the device and resume."
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return "the machine ran out of memory: choose fewer anchors, or free some and resume."
    first_line = readable(text.partition("\n")[0])
    if type(error).__name__ in ("_LinAlgError", "LinAlgError"):
        return f"a matrix is singular or could not be decomposed: {first_line} (see log.txt)"
    return f"{type(error).__name__}: {first_line} (see log.txt)"


def log_traceback(store: Store, run_id: str) -> None:
    """Append the exception at hand to the run's log.txt, which in a detached worker is stderr too. No reason to fail."""
    with contextlib.suppress(OSError, UserError), (store.run_dir(run_id) / "log.txt").open("a") as log:
        log.write(traceback.format_exc())

"""Turns an exception into a sentence that a user can act on, and writes its traceback into the run's log."""

import contextlib
import traceback

from fda.errors import UserError, readable
from fda.store.refusals import is_full
from fda.store.store import Store


def sentence(error: BaseException, store: Store, run_id: str) -> str:
    """One sentence, with the path of the run's log where it says more; a UserError is one already."""
    log, resume = store.run_dir(run_id) / "log.txt", f"`python -m fda runs resume {run_id}`"
    text = str(error)
    if isinstance(error, UserError):
        return text
    if is_full(error):
        return f"the disk is full: free space in {store.home}, then {resume}."
    if type(error).__name__ == "OutOfMemoryError":  # torch's, by name: torch may not be imported
        return (
            f"the device ran out of memory: end other programs on it, then {resume}, or start anew with --device cpu."
        )
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return f"the machine ran out of memory: give fewer --anchors, or free some, then {resume}."
    first_line = readable(text.partition("\n")[0])
    if type(error).__name__ in ("_LinAlgError", "LinAlgError"):
        return f"a matrix is singular or could not be decomposed: {first_line} (see {log})"
    return f"{type(error).__name__}: {first_line} (see {log})"


def log_traceback(store: Store, run_id: str) -> None:
    """Append the current exception to the run's log.txt, which is also a detached worker's stderr. Never fails."""
    with contextlib.suppress(OSError, UserError), (store.run_dir(run_id) / "log.txt").open("a") as log:
        log.write(traceback.format_exc())

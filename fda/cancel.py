"""Cancellation: one token, passed down to all work of a run, says whether that work should end."""

from collections.abc import Callable


class Cancelled(Exception):
    """The work was asked to end. What is finished stays."""


class Cancel:
    """The token. `requested()` says whether the work should end; `check()` raises Cancelled if it should.

    Long work checks it at every step, batch or tensor; `requested` must therefore answer in microseconds.
    """

    def __init__(self, requested: Callable[[], bool]) -> None:
        self.requested = requested

    def check(self) -> None:
        if self.requested():
            raise Cancelled


NEVER = Cancel(lambda: False)

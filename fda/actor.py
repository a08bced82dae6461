"""Who acts: the person in whose name runs are started and changed. The command line acts for the user of the operating system.

The server says who visits a page (`fda.ui.visitor`); what a person may do is asked of `fda.jobs.gate`.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

Role = Literal["viewer", "operator", "admin"]


@dataclass(frozen=True)
class Actor:
    """A person. `role`: None for one who may not even look. `limited`: whether the limits of access.toml hold for them."""

    name: str
    role: Role | None
    limited: bool = False


def system_user() -> Actor:
    """The user whom this process belongs to, who may do everything: all of FDA_HOME is theirs."""
    if os.name != "posix":
        return Actor(os.environ.get("USERNAME", "user"), "admin")
    import pwd

    try:
        return Actor(pwd.getpwuid(os.getuid()).pw_name, "admin")
    except KeyError:  # a container may run as a number without a name
        return Actor(f"user {os.getuid()}", "admin")


_acting: ContextVar[Actor | None] = ContextVar("acting", default=None)
_ask: Callable[[], Actor] = system_user


def actor() -> Actor:
    """Who acts now, in this thread."""
    return _acting.get() or _ask()


def identify_by(ask: Callable[[], Actor]) -> None:
    """Let this process learn from `ask` who acts, in the thread where it is asked."""
    global _ask
    _ask = ask


@contextmanager
def acting_as(one: Actor) -> Iterator[None]:
    """Act for this person inside the block: for threads that go on with what a person began."""
    token = _acting.set(one)
    try:
        yield
    finally:
        _acting.reset(token)

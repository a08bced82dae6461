"""Buttons of actions that not everybody may do: disabled for whoever may not, with the reason as their help.

They only show it. `fda.jobs.gate` decides, when the action is carried out.
"""

from collections.abc import Callable
from typing import Any

import streamlit as st

from fda.actor import acting_as, actor
from fda.jobs.gate import Action, permit, refusal
from fda.store.records import StoredRun
from fda.ui import notices


def action_button(
    label: str,
    action: Action,
    run: StoredRun | None = None,
    *,
    do: Callable[[], None] | None = None,
    disabled: bool = False,
    help: str | None = None,
    **named: Any,
) -> bool:
    """`st.button` of an action on `run`, or on none.

    `do` is called when it is pressed, then the page is made anew. An action that depends on what other widgets say goes there:
    the `args` of a callback are those of the last run of the script that came so far, so whoever types a value and presses
    the button at once would start with the value before.
    """
    why_not = refusal(action, run)
    if why_not is not None:
        disabled, help = True, notices.sentence(why_not)
    pressed = st.button(label, disabled=disabled, help=help, **named)
    if pressed and do is not None:
        do()
        st.rerun()
    return pressed


def download_button(
    label: str, data: Callable[[], bytes | str] | bytes | str, *, help: str | None = None, **named: Any
) -> bool:
    """`st.download_button`. Whoever may not download is offered nothing that a request could fetch."""
    why_not = refusal("download")
    if why_not is not None:
        offered: dict[str, Any] = named | {"disabled": True}
        return st.download_button(label, b"", help=notices.sentence(why_not), **offered)
    if callable(data):
        data = _checked(data)
    return st.download_button(label, data, help=help, **named)


def _checked(make: Callable[[], bytes | str]) -> Callable[[], bytes | str]:
    """`make`, which the server calls later in a thread without a visitor: for the visitor of now."""
    who = actor()

    def checked() -> bytes | str:
        with acting_as(who):
            permit("download")
            return make()

    return checked

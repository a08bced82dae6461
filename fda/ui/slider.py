"""A slider that answers while it is dragged: `st.slider` tells its value only when it is let go.

It holds no state. The page gives the value and is told of another; the next value is sent when the last has been answered, so
that dragging fast skips values but never interrupts a figure on its way.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import streamlit as st

from fda.ui.components import component

Choice = TypeVar("Choice")

_slider = component("slider", styles=("slider",))


def slider(
    label: str,
    choices: Sequence[Choice],
    value: Choice,
    *,
    key: str,
    hint: str,
    on_pick: Callable[[Choice], None],
    disabled: bool = False,
    width: int | str = "stretch",
) -> None:
    """Show `value` among `choices`; `on_pick` is a callback with the one that the reader moves to. `hint`: a line below it."""

    def picked() -> None:
        index = st.session_state[key].picked
        if isinstance(index, int | float) and int(index) in range(len(choices)):  # it comes from a browser
            on_pick(choices[int(index)])

    texts = [f"{one:g}" if isinstance(one, float) else str(one) for one in choices]
    data = {"label": label, "choices": texts, "index": list(choices).index(value), "hint": hint, "disabled": disabled}
    _slider(key=key, data=data, on_picked_change=picked, width=width)

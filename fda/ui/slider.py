"""A slider that reports its value while it is dragged: `st.slider` reports only when the reader lets go.

It holds no state: the page passes the value and gets the next one. The browser sends a value only after the answer to the
last, so that fast dragging skips values but never interrupts a figure on its way. A button plays it, choice by choice.
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
    """Show `value` among `choices`; callback `on_pick` gets the choice that the reader moves to. `hint`: a line below."""

    def picked() -> None:
        index = st.session_state[key].picked
        if isinstance(index, int | float) and int(index) in range(
            len(choices)
        ):  # not guaranteed: it comes from a browser
            on_pick(choices[int(index)])

    texts = [f"{choice:g}" if isinstance(choice, float) else str(choice) for choice in choices]
    data = {"label": label, "choices": texts, "index": list(choices).index(value), "hint": hint, "disabled": disabled}
    _slider(key=key, data=data, on_picked_change=picked, width=width)

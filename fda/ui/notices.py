"""Messages on a page, one sentence each: an error (never a traceback), a warning, an empty state."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from fda.errors import UserError
from fda.escape import line_start, within_line

_KEPT = "notice"


@contextmanager
def noticed(*, stop: bool = False) -> Iterator[None]:
    """Show a UserError raised inside as an error, then go on after the block, or end the page if `stop`."""
    try:
        yield
    except UserError as error:
        problem(str(error))
        if stop:
            st.stop()


def problem(message: str) -> None:
    st.error(sentence(message), icon=":material/error:")


def note(message: str) -> None:
    """A warning about the numbers beside it."""
    st.warning(sentence(message), icon=":material/info:")


def empty(message: str) -> None:
    """An empty state, which says what to do next."""
    st.info(sentence(message), icon=":material/arrow_forward:")


def keep_problem(message: str) -> None:
    """Call from a callback: `show_kept` shows the error when the page runs next."""
    st.session_state[_KEPT] = message


def show_kept() -> None:
    """Call at the top of a page whose callbacks use `keep_problem`."""
    if (message := st.session_state.pop(_KEPT, None)) is not None:
        problem(message)


def sentence(text: str) -> str:
    """`text` with a capital and an end (a full stop, unless there is another), Markdown escaped but for `code` in backticks.

    Only a pair of backticks with text between is code: a lone one, from a stranger's name, would turn the rest into markup.
    A hub id or path at the beginning keeps its case.
    """
    text = " ".join(text.split())
    if "/" not in text.split(" ")[0]:
        text = text[:1].upper() + text[1:]
    text = text if text.endswith((".", "?", "!", "…")) else f"{text}."
    parts = re.split(r"(`[^`]+`)", text)
    parts[::2] = [within_line(part) for part in parts[::2]]
    return line_start("".join(parts))

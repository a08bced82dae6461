"""What a page says when something cannot be done: one sentence, never a traceback."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from fda.errors import UserError
from fda.escape import line_start, within_line

_KEPT = "notice"


@contextmanager
def noticed(*, stop: bool = False) -> Iterator[None]:
    """Show a UserError raised inside as a notice, and go on after the block (or end the page if `stop`)."""
    try:
        yield
    except UserError as error:
        problem(str(error))
        if stop:
            st.stop()


def problem(message: str) -> None:
    st.error(sentence(message), icon=":material/error:")


def note(message: str) -> None:
    """What does not hinder, but should be known of the numbers beside it."""
    st.warning(sentence(message), icon=":material/info:")


def empty(message: str) -> None:
    """An empty state: says what to do next."""
    st.info(sentence(message), icon=":material/arrow_forward:")


def keep_problem(message: str) -> None:
    """From a callback: show this on the run of the page that follows."""
    st.session_state[_KEPT] = message


def show_kept() -> None:
    """At the top of a page whose callbacks may `keep_problem`."""
    if (message := st.session_state.pop(_KEPT, None)) is not None:
        problem(message)


def sentence(text: str) -> str:
    """With a capital and a full stop; what Markdown would take for markup is kept as it is, `code` excepted.

    Of backticks that is only a pair with something between: a lone one, out of a stranger's name, would let the rest be markup.

    A hub id or a path at the beginning stays as it is written.
    """
    text = " ".join(text.split())
    if "/" not in text.split(" ")[0]:
        text = text[:1].upper() + text[1:]
    text = text if text.endswith((".", "?", "!")) else f"{text}."
    parts = re.split(r"(`[^`]+`)", text)
    parts[::2] = [within_line(part) for part in parts[::2]]
    return line_start("".join(parts))

"""What every page shows: its teaching text, the equivalent commands, and the reader's theme."""

from collections.abc import Sequence

import streamlit as st

from fda.figures.theme import Theme
from fda.home import ASSETS

TEXTS = ASSETS / "texts"


def theme() -> Theme:
    """The theme that the reader's browser shows."""
    return "dark" if st.context.theme.type == "dark" else "light"


def what_am_i_seeing(page: str) -> None:
    """A closed box that explains the figures of a page: the text assets/texts/PAGE.md."""
    with st.expander("What am I seeing?", icon=":material/help:", key="teaching"):
        st.markdown((TEXTS / f"{page}.md").read_text(encoding="utf-8"))


def command_box(commands: Sequence[str]) -> None:
    """A closed box with the commands that do the same as the page."""
    with st.expander("The same on the command line", icon=":material/terminal:"):
        st.code("\n".join(commands), language="bash", wrap_lines=True)

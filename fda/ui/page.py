"""What every page shows: the bar at its top, the equivalent commands, and the reader's theme."""

from collections.abc import Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from fda.figures.theme import Theme
from fda.home import ASSETS

TEXTS = ASSETS / "texts"


def theme() -> Theme:
    """The theme that the reader's browser shows."""
    return "dark" if st.context.theme.type == "dark" else "light"


def bar(title: str, about: str, *texts: str) -> DeltaGenerator:
    """The slim bar that stays at the top of a page: its title, the returned container for the page's controls, and help.

    The help is the sentence `about` and the files `texts` of assets/texts, which explain the page's figures.
    """
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="bar"):
        st.title(title, anchor=False, width="content")
        controls = st.container(horizontal=True, vertical_alignment="center", gap="small", key="bar-controls")
        with st.popover("Help", icon=":material/help:", type="tertiary", help="What am I seeing?", key="teaching"):
            st.markdown(f"**{about}**")
            for text in texts:
                st.markdown((TEXTS / f"{text}.md").read_text(encoding="utf-8"))
    return controls


def command_box(commands: Sequence[str]) -> None:
    """A closed box with the commands that do the same as the page."""
    with st.expander("The same on the command line", icon=":material/terminal:"):
        st.code("\n".join(commands), language="bash", wrap_lines=True)

"""The teaching text of a page: what its figures mean, with the equation. The texts are files in assets/texts."""

import streamlit as st

from fda.home import ASSETS

TEXTS = ASSETS / "texts"


def what_am_i_seeing(page: str) -> None:
    """A closed box with the text of a page, by the page's file name without its ending."""
    with st.expander("What am I seeing?", icon=":material/help:", key="teaching"):
        st.markdown((TEXTS / f"{page}.md").read_text(encoding="utf-8"))

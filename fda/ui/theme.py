"""Which theme the reader looks at."""

import streamlit as st

from fda.figures.theme import Theme


def theme() -> Theme:
    return "dark" if st.context.theme.type == "dark" else "light"

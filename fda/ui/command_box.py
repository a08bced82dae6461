"""The box on a page that shows the commands which do the same."""

from collections.abc import Sequence

import streamlit as st


def command_box(commands: Sequence[str]) -> None:
    with st.expander("The same on the command line", icon=":material/terminal:"):
        st.code("\n".join(commands), language="bash", wrap_lines=True)

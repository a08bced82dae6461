"""Where a path of the server is for a browser: below `server.baseUrlPath`, if the server is not at the root."""

import streamlit as st


def address(path: str) -> str:
    """`path` begins with a slash."""
    below = st.get_option("server.baseUrlPath").strip("/")
    return f"{'/' if below else ''}{below}{path}"

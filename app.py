"""The dashboard's frame: page config and navigation. Start it with `make demo` or `streamlit run app.py`."""

import streamlit as st

from fda.home import ASSETS
from fda.ui.frame import PAGES, mark_framed

st.set_page_config(page_title="Functional dual anchors", page_icon=str(ASSETS / "icon.png"), layout="wide")
mark_framed()
st.navigation(PAGES()).run()

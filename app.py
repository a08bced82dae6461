"""The dashboard: `streamlit run app.py`. Page settings, the frame and navigation; everything else is in pages/."""

import streamlit as st

from fda.ui.frame import ICON, frame

st.set_page_config(page_title="Functional dual anchors", page_icon=str(ICON), layout="wide")
frame().run()

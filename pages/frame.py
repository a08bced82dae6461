"""The frame around every page: runs for every visitor, and within it the page that was asked for."""

import streamlit as st

from fda.figures.theme import PALETTES
from fda.home import ASSETS
from fda.ui.components import source
from fda.ui.page import theme
from fda.ui.pages import HOME, PAGES
from fda.ui.plot import load_plotly

ICON = str(ASSETS / "icon.png")

# Before navigation: a tab's icon that is set here is not fetched from fonts.gstatic.com by the page's icon name.
st.set_page_config(page_title="Functional dual anchors", page_icon=ICON, layout="wide")
page = st.navigation(
    [st.Page(path, title=title, icon=icon, help=help, default=path == HOME) for path, title, icon, help in PAGES]
)
if theme() == "dark":
    st.html(f"<style>:root {{ --ink-on-primary: {PALETTES['dark'].page} }} {source('frame.css')}</style>")
st.logo(ICON, size="large")
load_plotly()
page.run()

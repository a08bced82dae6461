"""The frame around every page: runs for every visitor, and within it the page that was asked for."""

import streamlit as st

from fda.figures.look import PALETTES
from fda.home import ASSETS
from fda.ui.pages import HOME, PAGES
from fda.ui.plot import load_plotly
from fda.ui.theme import theme

ICON = str(ASSETS / "icon.png")

# Streamlit writes white on the primary colour, which in the dark theme is light so that it can be read on the dark page.
INK_ON_PRIMARY = """<style>
[data-testid="stBaseButton-primary"] *, [data-testid="stBaseButton-primaryFormSubmit"] *, [data-tag] * { color: %s; }
</style>"""

# Before navigation: a tab's icon that is set here is not fetched from fonts.gstatic.com by the page's icon name.
st.set_page_config(page_title="Functional dual anchors", page_icon=ICON, layout="wide")
page = st.navigation(
    [st.Page(path, title=title, icon=icon, help=help, default=path == HOME) for path, title, icon, help in PAGES]
)
if theme() == "dark":
    st.html(INK_ON_PRIMARY % PALETTES["dark"].page)
st.logo(ICON, size="large")
load_plotly()
page.run()

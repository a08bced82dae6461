"""The frame around every page: sets up the browser tab and the navigation, then runs the chosen page."""

import streamlit as st

from fda.figures.theme import PALETTES
from fda.home import ASSETS
from fda.ui.components import source
from fda.ui.old_links import VIEWS, redirect
from fda.ui.page import theme
from fda.ui.pages import HIDDEN, HOME, PAGES
from fda.ui.plot import load_plotly
from fda.ui.visitor import admit, show_visitor

ICON = str(ASSETS / "icon.png")

# Before navigation: otherwise the browser fetches the page's icon from fonts.gstatic.com as the tab's icon.
st.set_page_config(page_title="Functional dual anchors", page_icon=ICON, layout="wide")
admit()
shown = [
    st.Page(
        path,
        title=title,
        icon=icon,
        help=help,
        default=path == HOME,
        visibility="hidden" if path in HIDDEN else "visible",
    )
    for path, title, icon, help in PAGES
]
old = [st.Page(redirect(name), title="Run", url_path=name, visibility="hidden") for name in VIEWS]
page = st.navigation([*shown, *old])
ink = PALETTES["dark"].page if theme() == "dark" else "#fff"
st.html(f"<style>:root {{ --ink-on-primary: {ink} }} {source('frame.css')}</style>")
st.logo(ICON, size="large")
load_plotly()
show_visitor()
page.run()

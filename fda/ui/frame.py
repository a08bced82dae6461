"""The frame around every page: navigation, icon, plotly.js; and the guard that keeps a page from showing without it."""

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from fda.figures.look import PALETTES
from fda.home import ASSETS, REPO
from fda.ui.plot import load_plotly
from fda.ui.theme import theme

ICON = ASSETS / "icon.png"
FRAMED = "framed"

HOME = "pages/home.py"
CHECKPOINTS = "pages/checkpoints.py"
CONSTRUCT = "pages/construct.py"
WATCH = "pages/watch.py"
ANCHORS = "pages/anchors.py"
COMPARE = "pages/compare.py"
LANDSCAPE = "pages/landscape.py"
PLAYGROUND = "pages/playground.py"
SPEED = "pages/speed.py"

# Streamlit writes white on the primary colour, which in the dark theme is light so that it can be read on the dark page.
_INK_ON_PRIMARY = """<style>
[data-testid="stBaseButton-primary"] *, [data-testid="stBaseButton-primaryFormSubmit"] *, [data-tag] * { color: %s; }
</style>"""

_PAGES = (
    (HOME, "Home", ":material/home:", "What this is, and the runs so far"),
    (CHECKPOINTS, "Checkpoints", ":material/deployed_code:", "What is in a zoo of checkpoints"),
    (CONSTRUCT, "Construct", ":material/tune:", "Choose settings and start a run"),
    (WATCH, "Watch", ":material/monitoring:", "A run as it happens"),
    (ANCHORS, "Anchors", ":material/anchor:", "What the anchors became, and which real inputs they are near"),
    (COMPARE, "Compare", ":material/leaderboard:", "Merging methods side by side"),
    (LANDSCAPE, "Landscape", ":material/landscape:", "Loss over a plane of weights, and the paths through it"),
    (PLAYGROUND, "Playground", ":material/science:", "Anchors of one linear layer, while you watch"),
    (SPEED, "Speed", ":material/speed:", "What was measured on this machine, beside the plain way"),
)


def run() -> None:
    """For app.py: draw what every page shares, and within it the page that was asked for."""
    _settings()
    st.session_state[FRAMED] = True
    page = st.navigation(_pages())
    if theme() == "dark":
        st.html(_INK_ON_PRIMARY % PALETTES["dark"].page)
    st.logo(str(ICON), size="large")
    load_plotly()
    page.run()


def guard() -> None:
    """First statement of every page: if app.py has not run in this session, run it first.

    A deep link to a freshly started server otherwise runs the page alone, without frame and without any check that
    app.py makes. Calling `st.navigation` switches the server away from that mode; the rerun then goes through app.py.
    """
    if not st.session_state.get(FRAMED):
        _settings()
        st.navigation(_pages(), position="hidden")
        st.rerun()


def _settings() -> None:
    """Before navigation: a tab's icon that is set here is not fetched from fonts.gstatic.com by the page's icon name."""
    st.set_page_config(page_title="Functional dual anchors", page_icon=str(ICON), layout="wide")


def _pages() -> list[StreamlitPage]:
    return [
        st.Page(REPO / path, title=title, icon=icon, help=help, default=path == HOME)
        for path, title, icon, help in _PAGES
    ]

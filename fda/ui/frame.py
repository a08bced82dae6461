"""The frame around every page: navigation, the guard against cold deep links, the theme, links between pages."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import streamlit as st

from fda.errors import UserError

_FRAMED = "_framed"
_PAGES = (
    ("home", "Home", "What this is, and your runs"),
    ("checkpoints", "Checkpoints", "Choose a zoo and look into it"),
    ("construct", "Construct", "Settings, and start"),
    ("watch", "Watch", "A run, live"),
    ("compare", "Compare", "Methods against tasks"),
)


def PAGES() -> list[st.Page]:  # noqa: N802 (a list that can only be made inside a running app)
    """The pages in the order of the navigation."""
    return [
        st.Page(f"pages/{name}.py", title=title, url_path="" if name == "home" else name, default=name == "home", help=tip)
        for name, title, tip in _PAGES
    ]


def mark_framed() -> None:
    """Note that app.py has run in this session."""
    st.session_state[_FRAMED] = True


def guard() -> None:
    """First statement of every page: run app.py's frame around a page that was reached without it.

    Until a session has run app.py, Streamlit serves a deep link from `pages/` alone, without frame. Declaring the
    navigation switches the process over, and the rerun then comes through app.py.
    """
    if not st.session_state.get(_FRAMED):
        st.navigation(PAGES(), position="hidden")
        st.rerun()


def theme() -> Literal["light", "dark"]:
    """The theme the browser shows now."""
    return "dark" if st.context.theme.type == "dark" else "light"


@contextmanager
def notices() -> Iterator[None]:
    """Show a UserError as a notice in place of the rest of the body, and stop the page there."""
    try:
        yield
    except UserError as error:
        st.error(sentence(error))
        st.stop()


def sentence(error: UserError) -> str:
    """The error's sentence with a capital, and with its punctuation safe from Markdown."""
    text = str(error).replace("[", r"\[").replace("*", r"\*").replace("_", r"\_").replace("$", r"\$")
    return text[:1].upper() + text[1:]


def attempt(action: Callable[[], object]) -> None:
    """Run an action of a button; a UserError becomes a toast that stays for the next run of the page."""
    try:
        action()
    except UserError as error:
        st.session_state["_notice"] = sentence(error)


def show_notice() -> None:
    """Show what the last button had to say, once."""
    if notice := st.session_state.pop("_notice", None):
        st.error(notice)


def headline(title: str, what: str) -> None:
    """A page's title and the one line that says what it shows and why."""
    st.title(title)
    st.caption(what)
    show_notice()


def go(page: str, **query: str) -> None:
    """Switch to a page with its state in the URL."""
    st.switch_page(f"pages/{page}.py", query_params=query)


def link(page: str, label: str, **query: str) -> None:
    """A link to a page with its state in the URL."""
    st.page_link(f"pages/{page}.py", label=label, query_params=query or None)

"""Links to pages that are views of the run page now: each leads there, with what it asked for."""

from collections.abc import Callable, Mapping

import streamlit as st

from fda.ui.pages import RUN

VIEWS = {
    "watch": "Units",
    "anchors": "Units",
    "compare": "Scores",
    "landscape": "Landscape",
}  # by the old page's address
RENAMED = {"watch": {"at": "energy"}, "compare": {"view": "figure"}, "landscape": {"source": "run"}}


def redirect(page: str) -> Callable[[], None]:
    """A page for `st.Page` that leads on from the old page's address."""

    def lead_on() -> None:
        st.switch_page(RUN, query_params=query(page, st.query_params.to_dict()))

    return lead_on


def query(page: str, asked: Mapping[str, str]) -> dict[str, str]:
    """The run page's query for what the old page was asked."""
    names = RENAMED.get(page, {})
    renamed = {names.get(name, name): value for name, value in asked.items()}
    if "run" in asked:
        renamed["run"] = asked["run"]  # before `source`
    if page == "anchors":
        renamed.setdefault("tab", "Spectrum")
        if task := renamed.pop("task", None):
            renamed["unit"] = f"{task}/{renamed.get('block', '0')}"
        renamed.pop("block", None)
    return renamed | {"view": VIEWS[page]}

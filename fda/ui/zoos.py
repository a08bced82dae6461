"""Choosing a zoo: a shipped one, or the path of a zoo file below the model roots. The choice is in the URL."""

import streamlit as st

from fda.models.hub import missing_models
from fda.models.zoo import list_zoos, load_zoo

OWN = "a zoo file of mine"


@st.cache_data(ttl=30, show_spinner=False)
def _at_hand() -> list[str]:
    """The shipped zoos whose models are on this machine; the others are for the command line, which downloads."""
    return [name for name, path in list_zoos().items() if not missing_models(load_zoo(path))]


def choose_zoo() -> str | None:
    """The name or path chosen; None while the reader has not yet given a path. Shared by the pages through `?zoo=`."""
    shipped = _at_hand()
    asked = st.query_params.get("zoo") or st.session_state.get("zoo_looked_at") or "demo"
    options = [*shipped, OWN]
    if "zoo_choice" not in st.session_state:
        st.session_state["zoo_choice"] = asked if asked in shipped else OWN
        st.session_state["zoo_path"] = "" if asked in shipped else asked
    choice = st.segmented_control("Zoo", options, key="zoo_choice", required=True)
    chosen: str | None = choice
    if choice == OWN:
        chosen = st.text_input(
            "Path of the zoo file",
            key="zoo_path",
            placeholder="zoos/mine.yaml",
            help="A YAML file that names a base model and the tasks finetuned from it; assets/zoos/demo.yaml is an "
            "example. It must lie below the folders in FDA_MODEL_ROOTS.",
        ).strip()
    if chosen:
        st.query_params["zoo"] = st.session_state["zoo_looked_at"] = chosen
    return chosen or None

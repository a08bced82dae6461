"""The zoo picker: shipped zoos, the user's own, or the path of a zoo file below the model roots. The URL holds the choice."""

from pathlib import Path

import streamlit as st

from fda.errors import UserError
from fda.zoos.hub import missing_models
from fda.zoos.zoo import list_zoos, own_zoos, zoo_or_problem

BY_PATH = "a zoo file of mine …"


def offered() -> dict[str, str]:
    """Name → label, for shipped zoos and then the user's own; the label says if models must still be downloaded."""
    shipped, own = list_zoos(), own_zoos()
    labels = {name: _label(name, path, "") for name, path in shipped.items()}
    return labels | {name: _label(name, path, " (mine)") for name, path in own.items() if name not in shipped}


def _label(name: str, path: Path, suffix: str) -> str:
    return f"{name}{suffix}{_state(str(path), _changed(path))}"


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # deleted a moment ago
        return 0


@st.cache_data(ttl=5, show_spinner=False)
def _state(path: str, changed: int) -> str:
    """A note beside the zoo's name. For an invalid file, the page shows the error once the reader chooses it."""
    zoo = zoo_or_problem(Path(path))
    if isinstance(zoo, UserError):
        return " · cannot be read"
    return " · on the hub" if missing_models(zoo) else ""


def choose_zoo() -> str | None:
    """The chosen name or path; None until the reader gives a path. Pages share the choice through `?zoo=`."""
    labels = offered()
    asked = st.query_params.get("zoo") or st.session_state.get("zoo_looked_at") or "demo"
    choice, path = st.session_state.get("zoo_choice"), st.session_state.get("zoo_path", "")
    if choice not in (*labels, BY_PATH):
        choice, path = (asked, "") if asked in labels else (BY_PATH, asked)
    # always written: otherwise a widget with this key on another page would start with its first option
    st.session_state["zoo_choice"], st.session_state["zoo_path"] = choice, path

    def label_of(name: str) -> str:
        return labels.get(name, name)

    with st.container(horizontal=True, vertical_alignment="bottom"):
        choice = st.selectbox("Zoo", [*labels, BY_PATH], format_func=label_of, key="zoo_choice", width=320)
        chosen: str | None = choice
        if choice == BY_PATH:
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


def look_at(name: str) -> None:
    """Call from a callback: choose this zoo when the page runs next."""
    st.session_state["zoo_choice"] = st.session_state["zoo_looked_at"] = st.query_params["zoo"] = name

"""The zoo picker: shipped zoos, the user's own, or a typed path below the model roots. The URL holds the choice."""

from pathlib import Path

import streamlit as st

from fda.errors import UserError
from fda.zoos.hub import missing_models
from fda.zoos.zoo import list_zoos, own_zoos, zoo_or_problem


def offered() -> dict[str, str]:
    """Name → label, for shipped zoos and then the user's own; the label says if models must still be downloaded."""
    shipped, users_own = list_zoos(), own_zoos()
    labels = {name: _label(name, path, "") for name, path in shipped.items()}
    return labels | {name: _label(name, path, " (mine)") for name, path in users_own.items() if name not in shipped}


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


def choose_zoo() -> str:
    """The chosen name, or the path that the reader has typed. Pages share the choice through `?zoo=`."""
    labels = offered()
    asked = st.query_params.get("zoo") or st.session_state.get("zoo_looked_at") or "demo"
    choice = (st.session_state.get("zoo_choice") or "").strip() or asked
    # always written: otherwise a widget with this key on another page would start with its first option
    st.session_state["zoo_choice"] = choice

    def label_of(name: str) -> str:
        return labels.get(name, name)

    offers = list(labels) if choice in labels else [*labels, choice]
    chosen = st.selectbox(
        "Zoo",
        offers,
        format_func=label_of,
        key="zoo_choice",
        width=320,
        accept_new_options=True,
        help="One of these, or a path that you type: of a zoo file, or of a folder of checkpoints. It must lie below the "
        "folders in FDA_MODEL_ROOTS.",
    )
    st.query_params["zoo"] = st.session_state["zoo_looked_at"] = chosen
    return chosen


def look_at(name: str) -> None:
    """Call from a callback: choose this zoo when the page runs next."""
    st.session_state["zoo_choice"] = st.session_state["zoo_looked_at"] = st.query_params["zoo"] = name

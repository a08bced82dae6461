"""Who asks for a mixer: a name for each browser tab that is open.

A tab that opens takes over the name of one that has closed, so that a reload finds its models in memory.
"""

from secrets import token_hex
from threading import Lock

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from fda.ui.feed import is_connected

_owners: dict[str, str] = {}  # visitor → the session that has it
_lock = Lock()
_KEY = "mixer_visitor"  # in the session


def visitor() -> str:
    """This session's name; call from a page's script."""
    context = get_script_run_ctx()
    assert context is not None, "only a page's script asks"
    session, name = context.session_id, st.session_state.get(_KEY)
    with _lock:
        if name is None or _owners.get(name) != session:
            left = next((one for one, owner in _owners.items() if not is_connected(owner)), None)
            name = left or token_hex(8)
            _owners[name] = session
    st.session_state[_KEY] = name
    return name

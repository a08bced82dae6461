"""Who visits a page: asked by every action of its script, and shown in the sidebar."""

from dataclasses import replace
from urllib.parse import unquote

import streamlit as st

from fda.actor import Actor, actor, identify_by, system_user
from fda.errors import UserError
from fda.escape import markdown
from fda.store.records import Run
from fda.ui import notices
from fda.ui.identity import PASSED_ON, door

NOBODY = Actor("", None, limited=True)


def who() -> Actor:
    """The visitor in whose session this thread runs a script; the server's own user where nobody must sign in.

    UserError if the settings cannot be read.
    """
    now = door()
    if not now.guarded:
        return replace(system_user(), limited=True)
    passed_on = st.context.headers.get(PASSED_ON)
    if passed_on is None:
        return NOBODY
    name = unquote(passed_on)
    return Actor(name, now.role(name), limited=True)


def admit() -> None:
    """First of all on every page: whoever has no role sees nothing and the script ends.

    `sign_in.py` has refused them already; this holds where the server was started without it.
    """
    identify_by(who)
    with notices.noticed(stop=True):
        if who().role is None:
            raise UserError("you have no role here: sign in, or ask an administrator of this dashboard for one.")


def show_starter(run: Run) -> None:
    """Who started the run; nothing where nobody signs in."""
    if run.started_by is not None and door().guarded:
        st.caption(f"Started by {markdown(run.started_by)}")


def show_visitor() -> None:
    """Name, role and a button to sign out, in the sidebar; nothing where nobody signs in."""
    now = door()
    if not now.guarded:
        return
    one = actor()
    with st.sidebar.container(key="visitor"):
        st.caption(f":material/person: {one.role} · {markdown(one.name)}")
        if now.sign_in:
            st.button("Sign out", icon=":material/logout:", type="tertiary", on_click=st.logout, key="sign-out")

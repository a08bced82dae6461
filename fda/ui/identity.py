"""Who sends a request: by the cookie of Streamlit's `st.login` or the header of a trusted proxy; and whether anybody must say.

`fda.ui.sign_in` asks this of every request, and passes the name on to the page's script in a header that nobody outside this
process can know.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from secrets import token_hex

import streamlit as st
from starlette.requests import HTTPConnection
from streamlit.auth_util import get_origin_from_redirect_uri, get_secrets_auth_section
from streamlit.runtime.secrets import secrets_singleton
from streamlit.web.server.server_util import get_cookie_secret
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME
from streamlit.web.server.starlette.starlette_websocket import _get_signed_cookie_with_chunks

from fda.access import Access, access_file, person, read_access
from fda.actor import Role
from fda.errors import UserError

PASSED_ON = f"x-fda-visitor-{token_hex(16)}"  # name of the header; it ends with this process
FORWARDED = (
    "FORWARDED_ALLOW_IPS"  # with it the server believes proxies what their client's address is, and forgets their own
)


@dataclass(frozen=True)
class Door:
    """How visitors come in now. `sign_in`: through an OpenID provider; else through the proxy, or freely."""

    access: Access
    sign_in: bool

    @property
    def guarded(self) -> bool:
        return self.sign_in or self.access.proxy is not None

    def name(self, request: HTTPConnection) -> str | None:
        """The visitor's name; None if the request gives none that can be believed."""
        proxy = self.access.proxy
        if proxy is not None and request.client is not None and proxy.trusts(request.client.host):
            named = request.headers.getlist(proxy.header)
            if named:
                return person(named[0]) if len(named) == 1 else None
        return _name_in_cookie(request.cookies) if self.sign_in else None

    def role(self, name: str | None) -> Role | None:
        return None if name is None else self.access.role_of(name)


def door() -> Door:
    """The settings as they are now. UserError if they cannot be read or contradict each other: then nobody comes in."""
    access, sign_in = read_access(), _has_auth()
    if access.gives_roles and not sign_in and access.proxy is None:
        raise UserError(
            f"{access_file()} gives roles, but nobody can sign in: add [auth] to Streamlit's secrets, or [proxy] to the file."
        )
    if access.proxy is not None and os.environ.get(FORWARDED) != "":
        raise UserError(
            f"behind a proxy that names visitors, the server must see the proxy's own address: start it with {FORWARDED}= ."
        )
    return Door(access, sign_in)


def providers() -> list[str]:
    """Names of the OpenID providers in the secrets; `default` for a single one without a name."""
    section = get_secrets_auth_section()
    named = [name for name, value in section.items() if isinstance(value, Mapping) and "client_id" in value]
    return named or ["default"]


@cache
def _has_auth() -> bool:
    """Whether the secrets have a section [auth]. They are read once: a change needs another start."""
    there = [path for path in st.get_option("secrets.files") if Path(path).exists()]
    if there and not secrets_singleton.load_if_toml_exists():
        raise UserError(f"{there[0]} cannot be read as TOML: correct it.")
    if not get_secrets_auth_section():
        return False
    if get_origin_from_redirect_uri() is None or not get_cookie_secret():
        raise UserError(f"[auth] in {there[0]} lacks redirect_uri or cookie_secret: add it.")
    return True


def _name_in_cookie(cookies: dict[str, str]) -> str | None:
    """The name in the signed cookie of `st.login`: the e-mail address, or the provider's `sub` if that is not verified."""
    signed = _get_signed_cookie_with_chunks(cookies, USER_COOKIE_NAME)
    try:
        said = json.loads(signed or b"{}")
    except ValueError:
        return None
    if not said.get("is_logged_in") or said.get("origin") != get_origin_from_redirect_uri():
        return None
    email = said.get("email") if said.get("email_verified", True) in (True, "true") else None
    name = email or said.get("sub")
    return person(name) if isinstance(name, str) else None

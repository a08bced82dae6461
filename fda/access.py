"""FDA_HOME/access.toml: who has which role, which proxy may name a visitor, and how much each person may have.

    [roles]                              # who is named nowhere may not even look
    admin = ["ada@lab.org"]
    operator = ["*@lab.org"]             # everybody of a domain
    viewer = ["*"]                       # everybody who can sign in

    [proxy]                              # instead of [auth] in Streamlit's secrets
    header = "X-Forwarded-User"
    addresses = ["10.0.0.5"]

    [limits]
    runs = 10

Without the file nobody signs in and nothing is limited, and pydantic, which checks it, is not imported: the server reads this
before it listens. Knows no browser and no store.
"""

import os
import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, MinLen

from fda.actor import Role
from fda.errors import UserError, readable
from fda.home import fda_home

MOST_NAME = 200  # characters of a person's name
RANKED: tuple[Role, ...] = ("admin", "operator", "viewer")
_Count = Annotated[int, Ge(1)]
_FORBID = {"extra": "forbid"}


@dataclass(frozen=True)
class Roles:
    """Role → names, `*@DOMAIN`, or `*` for all."""

    admin: tuple[str, ...] = ()
    operator: tuple[str, ...] = ()
    viewer: tuple[str, ...] = ()
    __pydantic_config__ = _FORBID

    def __post_init__(self) -> None:
        for role in RANKED:
            for name in getattr(self, role):
                if not name or "*" in name.removeprefix("*@" if name != "*" else "*"):
                    raise ValueError(f"{role}: {name!r} is neither a name, nor *@DOMAIN, nor *")


@dataclass(frozen=True)
class Proxy:
    """`header` names the visitor, if the request comes from one of `addresses` (such as `10.0.0.5` or `10.0.0.0/8`)."""

    header: str
    addresses: Annotated[tuple[str, ...], MinLen(1)]
    __pydantic_config__ = _FORBID

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9-]+", self.header):
            raise ValueError(f"header: {self.header!r} is not made of letters, digits and -")
        for address in self.addresses:
            try:
                ip_network(address)
            except ValueError as error:
                raise ValueError(f"addresses: {error}") from None

    def trusts(self, peer: str) -> bool:
        """Whether a request from this address may name its visitor."""
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        if isinstance(address, IPv6Address):
            address = address.ipv4_mapped or address  # IPv4 on a socket for both
        return any(address in ip_network(network) for network in self.addresses)


@dataclass(frozen=True)
class Limits:
    """None: no limit. `sessions` counts the open pages of all visitors, the others what one person has."""

    runs: _Count | None = None  # waiting or at work
    disk_gb: Annotated[float, Gt(0)] | None = None  # GB (10⁹ bytes) of all their runs
    transfers: _Count | None = None  # exports and downloads at work
    mixers: _Count | None = None
    sessions: _Count | None = None
    __pydantic_config__ = _FORBID


@dataclass(frozen=True)
class Access:
    """The whole file."""

    roles: Roles = Roles()
    proxy: Proxy | None = None
    limits: Limits = Limits()
    __pydantic_config__ = _FORBID

    def role_of(self, name: str) -> Role | None:
        """The highest role that a rule gives to this name, which is `normal`; None if none does."""
        for role in RANKED:
            if any(_fits(name, normal(rule)) for rule in getattr(self.roles, role)):
                return role
        return None

    @property
    def gives_roles(self) -> bool:
        return any(getattr(self.roles, role) for role in RANKED)


def access_file() -> Path:
    return _access_file(os.environ.get("FDA_HOME"))


@lru_cache(maxsize=4)  # each request to the server asks
def _access_file(_: str | None) -> Path:
    return fda_home() / "access.toml"


def read_access() -> Access:
    """The file as it is now. UserError, which says where, if it cannot be read: then nobody may do anything."""
    path = access_file()
    try:
        stat = path.stat()
    except FileNotFoundError:
        return Access()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): make it readable.") from None
    return _read(path, (stat.st_mtime_ns, stat.st_size, stat.st_ino))


def normal(name: str) -> str:
    """The form in which names are compared and stored: ASCII letters are small. Others stay: K, the unit, is no k."""
    name = name.strip()
    return name.lower() if name.isascii() else name


def person(name: str | None) -> str | None:
    """The name in its normal form; None for one that is empty, too long or not one readable line."""
    if name is None or not 0 < len(name) <= MOST_NAME or readable(name) != name:
        return None
    return normal(name) or None


@lru_cache(maxsize=4)
def _read(path: Path, _: tuple[int, int, int]) -> Access:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Access).validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        problem = {
            # from a class above, which names its field
            "value_error": "." + first["msg"].removeprefix("Value error, "),
            "unexpected_keyword_argument": ": there is no such setting",
        }.get(first["type"], ": " + first["msg"])
        raise UserError(f"{path}, {where}{problem}: correct it.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no readable TOML file ({readable(str(error))}): correct it.") from None


def _fits(name: str, rule: str) -> bool:
    if rule == "*":
        return True
    return name.endswith(rule[1:]) and name.count("@") == 1 if rule.startswith("*@") else name == rule

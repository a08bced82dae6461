"""The grammar of hub ids (org/name[@revision][:folder]), and safe paths in the hub's cache.

The grammar is the hub's and git's, in ASCII. Untrusted text (an id, the content of a ref, a listing) becomes a path in the
cache only through `inside`. Makes no request and reads no file.
"""

import re
from pathlib import Path
from typing import NamedTuple

from fda.errors import UserError

LONGEST_ID, LONGEST_REVISION, LONGEST_FOLDER = 96, 200, 200  # characters; 96 is the hub's limit of org/name
_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"  # as huggingface_hub's validate_repo_id
_ID = re.compile(rf"{_NAME}/{_NAME}")
# A commit, or a ref's name as git allows it, without characters that are special to shells and file systems.
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=-]*(?:/[A-Za-z0-9_+=-][A-Za-z0-9_.+=-]*)*")
_FOLDER = re.compile(r"[A-Za-z0-9_.+=-]+(?:/[A-Za-z0-9_.+=-]+)*")
_PART = re.compile(r"[A-Za-z0-9_.+=@-]{1,255}")


class HubId(NamedTuple):
    """`folder`: the model's folder in a repository with several models; else empty."""

    name: str
    revision: str | None
    folder: str


def is_hub_id(text: str) -> bool:
    """Whether `text` has the form org/name[@revision][:folder]. An existing path takes precedence: see `fda.zoos.zoo`."""
    name, revision, folder = split_id(text)
    return (
        _is_name(name)
        and (revision is None if "@" not in text.partition(":")[0] else _is_revision(revision or ""))
        and (not folder if ":" not in text else _is_folder(folder))
    )


def split_id(model: str) -> HubId:
    """Split org/name@revision:folder into its parts."""
    repository, _, folder = model.partition(":")
    name, _, revision = repository.partition("@")
    return HubId(name, revision or None, folder)


def _is_name(text: str) -> bool:
    if len(text) > LONGEST_ID or _ID.fullmatch(text) is None:
        return False
    return "--" not in text and ".." not in text and not text.endswith(".git")


def _is_revision(text: str) -> bool:
    if len(text) > LONGEST_REVISION or _REVISION.fullmatch(text) is None:
        return False
    return ".." not in text and not any(part.endswith((".", ".lock")) for part in text.split("/"))


def _is_folder(text: str) -> bool:
    if len(text) > LONGEST_FOLDER or _FOLDER.fullmatch(text) is None:
        return False
    return not any(part in (".", "..") for part in text.split("/"))


def is_part(text: str) -> bool:
    """Whether `text` can be the name of one file or folder in the cache."""
    return _PART.fullmatch(text) is not None and text not in (".", "..")


def inside(folder: Path, *parts: str) -> Path:
    """Join `folder` and parts, each of which may contain slashes or be empty. UserError if the result could leave `folder`."""
    names = [name for part in parts if part for name in part.split("/")]
    if not all(map(is_part, names)):
        raise UserError(f"{'/'.join(names)!r} is no place in the hub's cache: correct the hub id.")
    return folder.joinpath(*names)

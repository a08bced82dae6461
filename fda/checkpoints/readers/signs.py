"""Detect a file's format by its first bytes, because names and suffixes are often wrong."""

from pathlib import Path
from typing import Literal

from fda.errors import UserError

Kind = Literal["safetensors", "zip", "pickle", "numpy", "lfs pointer", "web page", "gguf", "hdf5", "empty", "unknown"]

LONGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors library


def kind_of(path: Path) -> Kind:
    """Return the kind of a file. UserError if it cannot be read."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise UserError(f"{path} could not be read ({error.strerror}): check the path and its permissions.") from None
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        return "empty"
    # First, because a header's length may look like another format's signature.
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= LONGEST_HEADER:
        return "safetensors"
    if start.startswith(b"version https://git-lfs"):
        return "lfs pointer"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "web page"
    if start.startswith(b"PK\x03\x04"):
        return "zip"
    if start.startswith(b"\x93NUMPY"):
        return "numpy"
    if start.startswith(b"GGUF"):
        return "gguf"
    if start.startswith(b"\x89HDF\r\n"):
        return "hdf5"
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "pickle"
    return "unknown"


_NOT_A_CHECKPOINT = {
    "lfs pointer": "is a git-lfs pointer, not the file it points to: run `git lfs pull` in its folder, or download it",
    "web page": "is a web page, probably an error of the download: download the file again",
    "gguf": "is a GGUF file, whose weights are quantised: give the safetensors checkpoint it was made from",
    "hdf5": "is an HDF5 file of TensorFlow: give the safetensors or PyTorch checkpoint of this model",
}


def refuse_what_is_no_checkpoint(path: Path) -> None:
    """UserError for a file whose format certainly holds no readable weights; the readers judge all others."""
    kind = kind_of(path)
    if kind in _NOT_A_CHECKPOINT:
        raise UserError(f"{path} {_NOT_A_CHECKPOINT[kind]}.")

"""Locations on this machine: FDA_HOME, the embedded assets, the folders that pages may read, and file permissions.

Knows nothing of what the files hold.
"""

import contextlib
import os
from pathlib import Path

from fda.errors import UserError

PACKAGE = Path(__file__).resolve().parent
REPO = PACKAGE.parent  # the checkout, or site-packages for an installed package
ASSETS = PACKAGE / "assets" if (PACKAGE / "assets").is_dir() else REPO / "assets"  # installed: inside the package

_umask: int | None = None  # the user's umask, once `write_privately` has replaced it


def fda_home() -> Path:
    """Return the folder of the store and of all runs: FDA_HOME, or ~/.fda."""
    return Path(os.environ.get("FDA_HOME") or Path.home() / ".fda").expanduser().resolve()


def make_private(home: Path) -> None:
    """Create FDA_HOME if it does not exist, and let only its owner read it. OSError if it cannot be created."""
    try:
        mode = home.stat().st_mode
    except FileNotFoundError:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return
    if mode & 0o077:
        with contextlib.suppress(OSError):  # another user owns the folder
            home.chmod(0o700)


def write_privately() -> None:
    """Set the umask so that only the owner can read and write the files this process creates. See `open_to_others`."""
    global _umask
    before = os.umask(0o077)
    _umask = before if _umask is None else _umask


def open_to_others(path: Path) -> None:
    """Give a file or folder that the user asked for, and everything below it, the modes of the user's own umask."""
    if _umask is None:
        return
    for entry in [path, *(path.rglob("*") if path.is_dir() else ())]:
        if not entry.is_symlink():
            entry.chmod((0o777 if entry.is_dir() else 0o666) & ~_umask)


def model_roots() -> list[Path]:
    """Return the folders below which pages may read: FDA_MODEL_ROOTS, or the working directory, FDA_HOME and the hub cache.

    The embedded assets are always included.
    """
    listed = os.environ.get("FDA_MODEL_ROOTS")
    if listed:
        roots = [Path(part).expanduser() for part in listed.split(":") if part]
    else:
        hub_cache = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface") / "hub"
        roots = [Path.cwd(), fda_home(), hub_cache]
    return [root.resolve() for root in [*roots, ASSETS]]


def absolute(path: str | Path, folder: Path = Path()) -> Path:
    """Resolve `path` relative to `folder`, with `~` and links; it need not exist. UserError for text that cannot be a path."""
    try:
        return (folder / os.path.expanduser(path)).resolve()
    except (ValueError, OSError, RuntimeError):  # a zero byte, links in a circle
        raise UserError(f"{str(path)!r} cannot be a path: correct it.") from None


def is_readable(path: str | Path, roots: list[Path] | None = None) -> bool:
    """Whether `path`, with links resolved, lies below an allowed root; it need not exist."""
    resolved = absolute(path)
    return any(resolved.is_relative_to(root) for root in (model_roots() if roots is None else roots))


def require_readable(path: str | Path, roots: list[Path] | None = None, *, written: str | Path | None = None) -> Path:
    """Return `path` with links resolved. UserError if it does not lie below an allowed root.

    The message quotes the path as it was `written` (default: `path`), and is the same whether or not the file exists: a
    visitor must not learn which files exist or where a link leads.
    """
    if not is_readable(path, roots):
        raise outside(path if written is None else written, roots)
    return absolute(path)


def outside(written: str | Path, roots: list[Path] | None = None) -> UserError:
    """Return the error for a path that pages may not read."""
    listed = ", ".join(str(root) for root in (model_roots() if roots is None else roots))
    return UserError(
        f"{written} lies outside the folders that pages may read ({listed}): "
        "move it there, or add its folder to FDA_MODEL_ROOTS and start the dashboard again."
    )

"""Where things lie on this machine: FDA_HOME, the embedded assets, and the folders that pages may read; who may read them.

Knows nothing of what the files hold.
"""

import contextlib
import os
from pathlib import Path

from fda.errors import UserError

PACKAGE = Path(__file__).resolve().parent
REPO = PACKAGE.parent  # in a checkout; the folder of packages where fda is installed
ASSETS = PACKAGE / "assets" if (PACKAGE / "assets").is_dir() else REPO / "assets"  # an installed package brings its own

_umask: int | None = None  # the user's, once `write_privately` has set another


def fda_home() -> Path:
    """The folder of the store and of all runs: FDA_HOME, or ~/.fda."""
    return Path(os.environ.get("FDA_HOME") or Path.home() / ".fda").expanduser().resolve()


def make_private(home: Path) -> None:
    """Make FDA_HOME if need be, for its owner's eyes only. OSError if it cannot be made."""
    try:
        mode = home.stat().st_mode
    except FileNotFoundError:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return
    if mode & 0o077:
        with contextlib.suppress(OSError):  # it belongs to somebody else, who decides
            home.chmod(0o700)


def write_privately() -> None:
    """From now on, what this process writes is its owner's to read and write alone. See `open_to_others`."""
    global _umask
    before = os.umask(0o077)
    _umask = before if _umask is None else _umask


def open_to_others(path: Path) -> None:
    """Give a file or folder that the user asked for, and all below it, the modes that his own umask gives."""
    if _umask is None:
        return
    for one in [path, *(path.rglob("*") if path.is_dir() else ())]:
        if not one.is_symlink():
            one.chmod((0o777 if one.is_dir() else 0o666) & ~_umask)


def model_roots() -> list[Path]:
    """Folders below which pages may read: FDA_MODEL_ROOTS, or the working directory, FDA_HOME and the hub cache.

    The embedded assets are always among them.
    """
    named = os.environ.get("FDA_MODEL_ROOTS")
    if named:
        roots = [Path(part).expanduser() for part in named.split(":") if part]
    else:
        hub_cache = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface") / "hub"
        roots = [Path.cwd(), fda_home(), hub_cache]
    return [root.resolve() for root in [*roots, ASSETS]]


def absolute(path: str | Path, folder: Path = Path()) -> Path:
    """`path` seen from `folder`, `~` and links resolved; it need not be there. UserError for a text that can be no path."""
    try:
        return (folder / os.path.expanduser(path)).resolve()
    except (ValueError, OSError, RuntimeError):  # a zero byte, links that lead to themselves
        raise UserError(f"{str(path)!r} cannot be a path: correct it.") from None


def is_readable(path: str | Path, roots: list[Path] | None = None) -> bool:
    """Whether `path`, links resolved, lies below an allowed root; it need not be there."""
    resolved = absolute(path)
    return any(resolved.is_relative_to(root) for root in (model_roots() if roots is None else roots))


def require_readable(path: str | Path, roots: list[Path] | None = None, *, written: str | Path | None = None) -> Path:
    """`path` with links resolved, if it lies below an allowed root; otherwise a UserError.

    The sentence quotes the path as it was `written` (default: `path`) and is the same whether or not the file is there: a
    stranger must learn neither that nor where a link leads.
    """
    if not is_readable(path, roots):
        raise outside(path if written is None else written, roots)
    return absolute(path)


def outside(written: str | Path, roots: list[Path] | None = None) -> UserError:
    """The sentence for a path that no page may read."""
    listed = ", ".join(str(root) for root in (model_roots() if roots is None else roots))
    return UserError(
        f"{written} lies outside the folders that pages may read ({listed}): "
        "move it there, or add its folder to FDA_MODEL_ROOTS and start the dashboard again."
    )

"""Where things lie on this machine: FDA_HOME, the embedded assets, and the folders that pages may read.

Knows nothing of what the files hold.
"""

import os
from pathlib import Path

from fda.errors import UserError

REPO = Path(__file__).resolve().parent.parent
ASSETS = REPO / "assets"


def fda_home() -> Path:
    """The folder of the store and of all runs: FDA_HOME, or ~/.fda."""
    return Path(os.environ.get("FDA_HOME") or Path.home() / ".fda").expanduser().resolve()


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

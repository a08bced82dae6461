"""Turn failures of the store's file into one sentence each that says what to do."""

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fda.errors import UserError

REPAIR = "`python -m fda doctor --repair` moves it aside and lists the runs anew from their folders, which stay"
_FULL = "its disk is full: free some space there and try again."
_CLOSED = "it cannot be written: check its permissions, or set FDA_HOME to a folder that can be."
_DAMAGED = f"its fda.db is damaged: {REPAIR}."
_SQLITE_REASONS = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _CLOSED,
    sqlite3.SQLITE_CANTOPEN: _CLOSED,
    sqlite3.SQLITE_PERM: _CLOSED,
    sqlite3.SQLITE_AUTH: _CLOSED,
    sqlite3.SQLITE_IOERR: "its fda.db could not be read or written (input/output error): check that disk.",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: f"its fda.db is no database: {REPAIR}.",
}
_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED_ERRNOS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
_TABLES_DIFFER = ("no such table", "no such column", "has no column named", "malformed", "Could not decode")
LEAST_FREE = 1 << 20  # bytes: a disk with fewer counts as full
LEAST_COMFORTABLE = 200 << 20  # bytes: with fewer, runs fail soon, so it is reported


class StoreBusy(UserError):
    """Another process holds the store's write lock: the same call may succeed in a moment."""


class DiskFull(UserError):
    """The store's disk has no room."""


def is_full(error: BaseException) -> bool:
    """Whether any exception, raised anywhere, means that a disk is full."""
    if isinstance(error, DiskFull) or getattr(error, "errno", None) in _FULL_ERRNOS:
        return True
    return not isinstance(error, UserError) and "No space left on device" in str(error)


@contextmanager
def readable_refusals(home: Path, seconds: float) -> Iterator[None]:
    """Raise errors of SQLite and the system as sentences about `home`. `seconds`: how long the call waited for a lock."""
    try:
        yield
    except sqlite3.Error as error:
        raise _of_sqlite(error, home, seconds) from error
    except OSError as error:
        if error.errno in _FULL_ERRNOS:
            raise DiskFull(f"{home} cannot be used, {_FULL}") from error
        if error.errno in _CLOSED_ERRNOS:
            raise UserError(f"{home} cannot be used, {_CLOSED}") from error
        raise


def _of_sqlite(error: sqlite3.Error, home: Path, seconds: float) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(
            f"{home} cannot be used, another process has kept fda.db locked for {seconds:g} s: try again in a moment."
        )
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and free_bytes(home) < LEAST_FREE):
        return DiskFull(f"{home} cannot be used, {_FULL}")
    if any(words in str(error) for words in _TABLES_DIFFER):
        return UserError(f"{home} cannot be used, {_DAMAGED}")
    reason = _SQLITE_REASONS.get(code)
    return error if reason is None else UserError(f"{home} cannot be used, {reason}")


def free_bytes(folder: Path) -> int:
    """Free bytes of the disk that holds `folder`; a large number if the system cannot say."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 1 << 62

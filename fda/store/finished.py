"""Finished files of a run, known by size and SHA-256 in the store: which are as they were written, and which must be made anew.

Anchors, merged and adapted models, and what a landscape keeps. A file is recorded once it is whole and on the disk. Where its
content is used its checksum is compared; a page looks at size and time of change first, and reads only what changed.
Imports no torch.
"""

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from fda.errors import UserError
from fda.store.records import FileRecord, StoredRun
from fda.store.store import Store

Look = Literal["content", "changes"]
MADE_BY_RESUME = ("anchors", "merged")  # folders whose lost files are made again in a run that is done
LARGEST_HEADER = 100 << 20  # bytes, as the safetensors library allows


def record_of(path: Path) -> FileRecord:
    """A file's size, time of change and checksum. OSError if it cannot be read."""
    status = path.stat()
    return FileRecord(status.st_size, status.st_mtime_ns, checksum(path))


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep(store: Store, run_id: str, path: Path) -> None:
    """Record a finished file of the run's folder."""
    store.add_file(run_id, path.relative_to(store.run_dir(run_id)).as_posix(), record_of(path))


def damage(path: Path, record: FileRecord | None, look: Look = "content") -> str | None:
    """What is wrong with a finished file, to follow its name in a sentence; None if it is as it was written.

    Of a file without a record (an earlier version's) no more than its safetensors header is known: whether it is whole.
    """
    try:
        status = path.stat()
        if record is None:
            return _header_damage(path, status.st_size)
        if status.st_size != record.bytes:
            size = "is empty" if status.st_size == 0 else f"has {status.st_size:,} bytes"
            return f"{size} instead of {record.bytes:,}"
        if look == "changes" and status.st_mtime_ns == record.modified:
            return None
        return None if checksum(path) == record.sha256 else "is damaged: its bytes are not those that were written"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def damaged_files(store: Store, run_id: str, look: Look, *, also: Callable[[str], bool] = bool) -> dict[str, str]:
    """Path below the run's folder → what is wrong with it, for every recorded file that is not as it was written.

    `also`: which paths to look at. A merged model that somebody removed is no damage: it can be large.
    """
    folder, wrong = store.run_dir(run_id), {}
    for path, record in store.files(run_id).items():
        told = damage(folder / path, record, look) if also(path) else None
        if told is not None and not (told == "is missing" and not path.startswith("anchors/")):
            wrong[path] = told
    return wrong


def files_to_make_again(store: Store, run: StoredRun) -> dict[str, str]:
    """As `damaged_files`, by content, of those that resuming the run makes again."""
    return damaged_files(store, run.run_id, "content", also=lambda path: path.partition("/")[0] in MADE_BY_RESUME)


def require_whole(store: Store, run_id: str, path: Path) -> None:
    """UserError that names a file of the run which is not as it was written, and the way to have it made again."""
    record = store.files(run_id).get(path.relative_to(store.run_dir(run_id)).as_posix())
    if (told := damage(path, record)) is not None:
        raise UserError(f"{path} {told}: `python -m fda runs resume {run_id}` makes it again.")


def _header_damage(path: Path, size: int) -> str | None:
    """What is wrong with a safetensors file as far as its header tells."""
    if size == 0:
        return "is empty"
    with path.open("rb") as file:
        begin = file.read(8)
        length = struct.unpack("<Q", begin)[0] if len(begin) == 8 else LARGEST_HEADER + 1
        if length > min(LARGEST_HEADER, size - 8):
            return "is cut"
        try:
            entries = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            return "is damaged: it has no safetensors header"
    whole = 8 + length + max(ends, default=0)
    return None if size == whole else f"has {size:,} bytes instead of {whole:,}"

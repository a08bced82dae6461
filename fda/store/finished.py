"""Check a run's finished files against the sizes and SHA-256 checksums in the store.

The files are anchors, merged and adapted models, kept test samples, and landscape snapshots; each is recorded once it is whole
and synced. Code that uses a file's content compares the checksum; pages compare size and mtime first and read only files that
changed.
Imports no torch.
"""

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from fda.errors import UserError
from fda.store.files import anchors_file
from fda.store.records import FileRecord, StoredRun
from fda.store.store import Store

Comparison = Literal["content", "changes"]  # by checksum, or by size and mtime first
MADE_BY_RESUME = ("anchors", "merged", "examples")  # resuming a finished run makes lost files of these folders again
LARGEST_HEADER = 100 << 20  # bytes, the safetensors library's limit


def record_of(path: Path) -> FileRecord:
    """A file's size, mtime and checksum. OSError if it cannot be read."""
    status = path.stat()
    return FileRecord(status.st_size, status.st_mtime_ns, checksum(path))


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep(store: Store, run_id: str, path: Path) -> None:
    """Record a finished file of the run's folder."""
    store.add_file(run_id, path.relative_to(store.run_dir(run_id)).as_posix(), record_of(path))


def damage(path: Path, record: FileRecord | None, by: Comparison = "content") -> str | None:
    """What is wrong with a finished file, worded to follow its name in a sentence; None if it is unchanged.

    Without a record (runs of an earlier version) only the file's length is compared with its safetensors header.
    """
    try:
        status = path.stat()
        if record is None:
            return _header_damage(path, status.st_size)
        if status.st_size != record.bytes:
            actual = "is empty" if status.st_size == 0 else f"has {status.st_size:,} bytes"
            return f"{actual} instead of {record.bytes:,}"
        if by == "changes" and status.st_mtime_ns == record.modified:
            return None
        return None if checksum(path) == record.sha256 else "is damaged: its bytes are not those that were written"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def damaged_files(store: Store, run_id: str, by: Comparison, *, also: Callable[[str], bool] = bool) -> dict[str, str]:
    """Path below the run's folder → damage, for every recorded file that has changed since it was written.

    Anchors of finished units count without a record too (runs of an earlier version). `also` selects the paths to check. A
    removed merged model is no damage: users delete them because they are large.
    """
    folder, problems = store.run_dir(run_id), {}
    records: dict[str, FileRecord | None] = dict(store.files(run_id))
    for unit in store.units(run_id, "construct"):
        if unit.state == "done" and not unit.unchanged:
            records.setdefault(anchors_file(Path(), unit.key.name, unit.key.block).as_posix(), None)
    for path, record in records.items():
        problem = damage(folder / path, record, by) if also(path) else None
        if problem is not None and not (problem == "is missing" and not path.startswith("anchors/")):
            problems[path] = problem
    return problems


def files_to_make_again(store: Store, run: StoredRun) -> dict[str, str]:
    """`damaged_files` by content, limited to the files that resuming the run makes again."""
    return damaged_files(store, run.run_id, "content", also=lambda path: path.partition("/")[0] in MADE_BY_RESUME)


def require_whole(store: Store, run_id: str, path: Path) -> None:
    """UserError if a file of the run has changed since it was written; the sentence says how to make it again."""
    record = store.files(run_id).get(path.relative_to(store.run_dir(run_id)).as_posix())
    if (problem := damage(path, record)) is not None:
        raise UserError(f"{path} {problem}: `python -m fda runs resume {run_id}` makes it again.")


def _header_damage(path: Path, size: int) -> str | None:
    """What is wrong with a safetensors file, judged by its header and length."""
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

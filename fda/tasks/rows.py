"""Bad rows of a split: gaps, truncated files, files of other formats. Messages name the row and its file.

`bad_rows: skip` removes up to 1 % of a split's rows before anything else reads the split, so that all readers agree on its
rows. Only decoding shows whether an image is bad; the result is cached in FDA_HOME.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import datasets

from fda.atomic import write_text
from fda.errors import UserError
from fda.home import fda_home

MOST_BAD = 0.01  # largest share of bad rows in a split
CHUNK = 256  # rows decoded at a time


class BadRow(Exception):
    """The row at `index` of the split cannot be used, for this `reason`."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index, self.reason = index, reason


def read_rows(dataset: datasets.Dataset, indices: Sequence[int]) -> list[tuple[Any, ...]]:
    """The values of all columns, row by row. BadRow for the first row with an empty or undecodable value."""
    columns = dataset.column_names
    try:
        read = dataset[list(indices)]
        rows = list(zip(*(read[column] for column in columns), strict=True))
    except Exception:  # decoders raise anything and do not name the row
        rows = [_read_row(dataset, index) for index in indices]
    for index, row in zip(indices, rows, strict=True):
        empty = [column for column, value in zip(columns, row, strict=True) if value is None]
        if empty:
            raise BadRow(index, f"the column {empty[0]!r} is empty")
    return rows


def _read_row(dataset: datasets.Dataset, index: int) -> tuple[Any, ...]:
    try:
        row = dataset[index]
    except Exception as error:  # as above
        raise BadRow(
            index, f"{' or '.join(map(repr, dataset.column_names))} cannot be read, {_reason(error)}"
        ) from None
    return tuple(row[column] for column in dataset.column_names)


def _reason(error: Exception) -> str:
    """The decoder's message in one line, without memory addresses."""
    name = type(error).__name__
    if name == "UnidentifiedImageError":
        return "it is no image of a known format"
    if isinstance(error, FileNotFoundError):
        return "its file does not exist"
    return (str(error).strip() or name).splitlines()[0].split(" <_io")[0]


def original_row(dataset: datasets.Dataset, index: int) -> int:
    """The row of the whole data set, from 0, that a selection has at `index`; rows of joined data sets count through."""
    return index if dataset._indices is None else dataset._indices.column(0)[index].as_py()


def row_name(dataset: datasets.Dataset, index: int) -> str:
    """`row 5`, or `row 5 (17.png)` if one of its columns is an image file."""
    row = original_row(dataset, index)
    for column in dataset.column_names:
        if isinstance(dataset.features[column], datasets.Image):
            stored = dataset.data.column(column)[row].as_py() or {}
            if stored.get("path"):
                return f"row {row} ({Path(stored['path']).name})"
    return f"row {row}"


def unreadable(dataset: datasets.Dataset) -> dict[int, str]:
    """Index → reason, for all rows with an empty or undecodable value. Rows are decoded once per data set."""
    key = sha256(json.dumps([dataset._fingerprint, dataset.column_names]).encode()).hexdigest()[:32]
    path = fda_home() / "cache" / "rows" / f"{key}.json"
    try:
        return {int(index): str(reason) for index, reason in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError):
        pass
    bad = dict(_unreadable(dataset))
    write_text(path, json.dumps(bad))
    return bad


def _unreadable(dataset: datasets.Dataset) -> Iterator[tuple[int, str]]:
    for start in range(0, len(dataset), CHUNK):
        indices = range(start, min(start + CHUNK, len(dataset)))
        while indices:
            try:
                read_rows(dataset, indices)
                break
            except BadRow as bad:
                yield bad.index, bad.reason
                indices = range(bad.index + 1, indices.stop)


def require_few(dataset: datasets.Dataset, bad: Mapping[int, str], where: str) -> str | None:
    """A sentence on the bad rows; None if there are none. UserError if they are more than 1 % of the data."""
    if not bad:
        return None
    first = min(bad)
    summary = (
        f"{len(bad)} of {len(dataset)} rows {'is' if len(bad) == 1 else 'are'} bad, first {row_name(dataset, first)}"
    )
    if len(bad) > MOST_BAD * len(dataset):
        raise UserError(f"{where}: {summary}: {bad[first]}; `bad_rows: skip` leaves out 1 % at most: mend them.")
    return f"{summary} ({bad[first]}), and left out (`bad_rows: skip`)."

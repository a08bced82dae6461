"""Rows of a split that cannot be used: gaps, truncated and foreign files. Each is told by its row, and by its file.

With `bad_rows: skip` they are left out, up to 1 % of a split, before anything else sees the split: so all that read it agree on
the rows. Whether an image can be decoded is only known by decoding it; what was found is kept in FDA_HOME.
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

MOST_BAD = 0.01  # share of a split's rows
CHUNK = 256  # rows that are decoded at a time


class BadRow(Exception):
    """One row, `place` in the split, and what is wrong with it."""

    def __init__(self, place: int, reason: str) -> None:
        super().__init__(reason)
        self.place, self.reason = place, reason


def read_rows(dataset: datasets.Dataset, places: Sequence[int]) -> list[tuple[Any, ...]]:
    """Row by row the values of all columns. BadRow for the first that is empty or cannot be decoded."""
    columns = dataset.column_names
    try:
        read = dataset[list(places)]
        rows = list(zip(*(read[column] for column in columns), strict=True))
    except Exception:  # whatever decoders raise: which row it was, they do not say
        rows = [_read_row(dataset, place) for place in places]
    for place, row in zip(places, rows, strict=True):
        empty = [column for column, value in zip(columns, row, strict=True) if value is None]
        if empty:
            raise BadRow(place, f"the column {empty[0]!r} is empty")
    return rows


def _read_row(dataset: datasets.Dataset, place: int) -> tuple[Any, ...]:
    try:
        row = dataset[place]
    except Exception as error:  # as above
        raise BadRow(
            place, f"{' or '.join(map(repr, dataset.column_names))} cannot be read, {_reason(error)}"
        ) from None
    return tuple(row[column] for column in dataset.column_names)


def _reason(error: Exception) -> str:
    """Pillow's sentence, without the address of an object in memory."""
    name = type(error).__name__
    if name == "UnidentifiedImageError":
        return "it is no image of a known format"
    if isinstance(error, FileNotFoundError):
        return "its file is not there"
    return (str(error).strip() or name).splitlines()[0].split(" <_io")[0]


def original_row(dataset: datasets.Dataset, place: int) -> int:
    """Where a row of a part of a data set stands in the whole, from 0; of parts put together, in the wholes put together."""
    return place if dataset._indices is None else dataset._indices.column(0)[place].as_py()


def row_name(dataset: datasets.Dataset, place: int) -> str:
    """`row 5`, or `row 5 (17.png)` where one of the columns is an image in a file."""
    row = original_row(dataset, place)
    for column in dataset.column_names:
        if isinstance(dataset.features[column], datasets.Image):
            stored = dataset.data.column(column)[row].as_py() or {}
            if stored.get("path"):
                return f"row {row} ({Path(stored['path']).name})"
    return f"row {row}"


def unreadable(dataset: datasets.Dataset) -> dict[int, str]:
    """Place → reason, of all rows with a column that is empty or cannot be decoded. Rows are decoded once per data set."""
    key = sha256(json.dumps([dataset._fingerprint, dataset.column_names]).encode()).hexdigest()[:32]
    path = fda_home() / "cache" / "rows" / f"{key}.json"
    try:
        return {int(place): str(reason) for place, reason in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError):
        pass
    bad = dict(_unreadable(dataset))
    write_text(path, json.dumps(bad))
    return bad


def _unreadable(dataset: datasets.Dataset) -> Iterator[tuple[int, str]]:
    for start in range(0, len(dataset), CHUNK):
        places = range(start, min(start + CHUNK, len(dataset)))
        while places:
            try:
                read_rows(dataset, places)
                break
            except BadRow as bad:
                yield bad.place, bad.reason
                places = range(bad.place + 1, places.stop)


def require_few(dataset: datasets.Dataset, bad: Mapping[int, str], where: str) -> str | None:
    """What is to be told of the bad rows; None if there are none. UserError if they are more than 1 % of the data."""
    if not bad:
        return None
    first = min(bad)
    said = f"{len(bad)} of {len(dataset)} rows {'is' if len(bad) == 1 else 'are'} bad, first {row_name(dataset, first)}"
    if len(bad) > MOST_BAD * len(dataset):
        raise UserError(f"{where}: {said}: {bad[first]}; `bad_rows: skip` leaves out 1 % at most: mend them.")
    return f"{said} ({bad[first]}), and left out (`bad_rows: skip`)."

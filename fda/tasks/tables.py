"""Counts the rows of a text table, or of a JSON Lines file, and decides whether a table uses quoting.

A comma table counts as quoted. A tab table is usually written without quoting, as GLUE's are, and a stray quotation mark in
it would join all rows up to the next one; it counts as quoted only if its lines prove it. `datasets`, which uses pandas, reads
the table; the count here shows whether it read all rows.
"""

import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TextIO, cast

import fsspec

from fda.errors import UserError

csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # the default limits a text to 128 KiB


@dataclass(frozen=True)
class Table:
    """`quoted`: whether quotation marks wrap texts; False if they are ordinary characters, None if there are none. `rows`:
    without the header. `short`: (row from 0, fields) of rows with too few fields, whose label may be missing on purpose."""

    header: tuple[str, ...]
    quoted: bool | None
    rows: int
    short: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class _Lines:
    """A table read line by line, its quotation marks as ordinary characters. `long`: (line, fields) of the first line with too
    many fields."""

    header: tuple[str, ...]
    rows: int
    short: tuple[tuple[int, int], ...]
    long: tuple[int, int] | None
    marks: bool  # any quotation mark
    proven: bool  # a CSV writer made the marks: they wrap whole fields, and one in a text is doubled, or all texts are wrapped

    @property
    def whole(self) -> bool:
        return self.long is None and not self.short


def read_layout(path: str | Path, separator: str, label: str) -> Table | None:
    """The layout of a local table with a header, compressed or not; None if it is not UTF-8 text, or empty.

    `label`: the column of labels. Lines inside a quoted text that end in known labels are rows, which a stray quotation mark
    joins. UserError, with the line, for those and for rows with too many fields.
    """
    path = Path(path)
    status = path.stat()
    return _layout(path, separator, label, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _layout(path: Path, separator: str, label: str, modified_ns: int, size: int) -> Table | None:
    try:
        lines = _lines(path, separator)
        if lines is None:
            return None
        if lines.marks and (separator != "\t" or not _plain(path, lines)):
            return _quoted(path, separator, label)
    except UnicodeDecodeError:
        return None
    if lines.long is not None:
        raise _too_long(path, *lines.long, len(lines.header))
    return Table(lines.header, False if lines.marks else None, lines.rows, lines.short)


def _plain(path: Path, lines: _Lines) -> bool:
    """Whether the quotation marks of a tab table are ordinary characters.

    If every line has the header's fields, they are unless a CSV writer made them and reading them as quoting gives the same
    rows. If lines have not, they are unless the table can be read as strictly quoted, with texts of several lines.
    """
    if lines.whole:
        return not lines.proven or _strict_rows(path, "\t", len(lines.header)) != lines.rows
    return _strict_rows(path, "\t", len(lines.header)) is None


def _lines(path: Path, separator: str) -> _Lines | None:
    with _opened(path) as file:
        lines = ((number, line.rstrip("\n")) for number, line in enumerate(file, 1) if not _blank(line, separator))
        first = next(lines, None)
        if first is None:
            return None
        header = first[1].split(separator)
        marks = '"' in first[1]
        rows, short, long, stray, wrapped, doubled = 0, [], None, False, False, False
        bare = False  # a text without marks around it
        for number, line in lines:
            fields = line.split(separator)
            if len(fields) > len(header) and long is None:
                long = (number, len(fields))
            elif len(fields) < len(header):
                short.append((rows, len(fields)))
            rows += 1
            if '"' in line:
                marks = True
                for field in fields:
                    inside = field[1:-1]
                    if '"' not in field:
                        continue
                    if len(field) < 2 or field[0] != '"' or field[-1] != '"' or '"' in inside.replace('""', ""):
                        stray = True
                    else:
                        wrapped, doubled = True, doubled or '""' in inside
            if not bare:
                bare = any(field and field[0] != '"' and not _number(field) for field in fields)
    names = tuple(name.strip('"') for name in header)
    return _Lines(names, rows, tuple(short), long, marks, wrapped and not stray and (doubled or not bare))


def _quoted(path: Path, separator: str, label: str) -> Table:
    """The layout if quotation marks wrap texts, as pandas reads them."""
    labels, of_several_lines = set(), []  # label values of rows that are one line
    header: list[str] = []
    label_index, rows, short, last_line = None, 0, [], 0
    with _opened(path, newline="") as file:
        recorder = _LineRecorder(file)
        for fields in csv.reader(recorder, delimiter=separator):
            first_line, last_line = last_line + 1, recorder.count
            lines = recorder.take()
            if not fields or (len(fields) == 1 and _blank(fields[0], separator) and len(header) != 1):
                continue
            if not header:
                header = fields
                label_index = header.index(label) if label in header else None
                continue
            if len(fields) > len(header) and len(lines) == 1:
                raise _too_long(path, first_line, len(fields), len(header))
            if len(fields) < len(header):
                short.append((rows, len(fields)))
            if len(lines) > 1:
                of_several_lines.append((first_line, last_line, lines))
            elif label_index is not None and len(fields) == len(header):
                labels.add(fields[label_index].strip())
            rows += 1
    for begin, end, lines in of_several_lines:
        if _is_joined(lines, separator, len(header), label_index, labels):
            raise UserError(
                f"{path}: lines {begin} to {end} are read as one row, since a quotation mark opens in line {begin}: double the "
                "marks in texts and wrap the texts, or save the table as parquet."
            )
    return Table(tuple(header), True, rows, tuple(short))


def _is_joined(lines: list[str], separator: str, width: int, label_index: int | None, labels: set[str]) -> bool:
    """Whether the lines of one row with line breaks are separate rows, joined by a stray quotation mark."""
    try:
        row = next(csv.reader(lines, delimiter=separator, strict=True))
    except csv.Error:
        return True
    split_lines = [line.rstrip("\r\n").split(separator) for line in lines]
    if len(row) != width:
        return True
    if any(len(fields) != width for fields in split_lines):
        return False  # a line that is no row is part of a text
    # the last line ends in the label of the whole row, in either case
    return label_index is None or all(fields[label_index].strip() in labels for fields in split_lines[:-1])


def _strict_rows(path: Path, separator: str, width: int) -> int | None:
    """The number of rows of a strictly quoted table: each mark wraps a text or is doubled in one. None if it is not strict."""
    count = -1
    try:
        with _opened(path, newline="") as file:
            for fields in csv.reader(file, delimiter=separator, strict=True):
                if len(fields) not in (0, width):
                    return None
                count += bool(fields)
    except csv.Error:
        return None
    return count


class _LineRecorder:
    """Iterates the lines of a file, counts them, and records those read since the last `take`."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.count = file, 0
        self.lines: list[str] = []

    def __iter__(self) -> Iterator[str]:
        for line in self.file:
            self.count += 1
            self.lines.append(line)
            yield line

    def take(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines


def count_json_lines(path: str | Path) -> int | None:
    """The number of objects in a JSON Lines file; None unless each line that is not blank begins with { and ends with }."""
    count = 0
    try:
        with _opened(Path(path)) as file:
            for line in file:
                if line.strip():
                    if line[0] != "{" or line.rstrip()[-1] != "}":
                        return None
                    count += 1
    except UnicodeDecodeError:
        return None
    return count


def _too_long(path: Path, line: int, fields: int, columns: int) -> UserError:
    return UserError(
        f"line {line} of {path} has {fields} fields, its header only {columns}: wrap texts that hold the separator in "
        "quotation marks, or save the table as parquet."
    )


@contextmanager
def _opened(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    with fsspec.open(str(path), "rt", encoding="utf-8-sig", newline=newline, compression="infer") as file:
        yield cast(TextIO, file)  # fsspec does not annotate it


def _blank(line: str, separator: str) -> bool:
    """Whether pandas skips the line."""
    return not line.strip("\r\n " if separator == "\t" else "\r\n \t")


def _number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True

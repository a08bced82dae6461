"""How many rows a table of text has, and whether quotation marks mean anything in it.

A comma table is quoted where its texts hold commas. A tab table is usually written without any quoting, as GLUE's are, and a
stray quotation mark in it would join all rows up to the next one; it is quoted only if its own lines prove it. Reading the
table is `datasets`' work; here its lines are counted, so that rows that were read can be compared with rows that are there.
"""

import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TextIO

import fsspec

from fda.errors import UserError

csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a text may be longer than 128 KiB, the default


@dataclass(frozen=True)
class Table:
    """`quoted`: None without any quotation mark. `rows`: without the header. `short`: (row from 0, fields) where some lack."""

    header: tuple[str, ...]
    quoted: bool | None
    rows: int
    short: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class _Lines:
    """What single lines tell when quotation marks are taken as letters. `long`: (line, fields) of the first with too many."""

    header: tuple[str, ...]
    rows: int
    short: tuple[tuple[int, int], ...]
    long: tuple[int, int] | None
    marks: bool  # any quotation mark
    proven: bool  # the marks are a writer's: texts are wrapped as a whole, and marks in them are doubled

    @property
    def whole(self) -> bool:
        return self.long is None and not self.short


def read_layout(path: str | Path, separator: str, label: str) -> Table | None:
    """The layout of a local table with a header, compressed or not; None where it is no UTF-8 text, or empty.

    `label`: the column whose values tell a line of a text from a row. UserError, with the line, for rows with too many fields
    and for rows that a quotation mark joins.
    """
    path = Path(path)
    status = path.stat()
    return _layout(path, separator, label, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _layout(path: Path, separator: str, label: str, written: int, size: int) -> Table | None:
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
    """Whether quotation marks of a tab table are letters: lines are whole without them, and no writer's quoting shows."""
    if lines.whole:
        if not lines.proven:
            return True
        return _strict_rows(path, "\t", len(lines.header)) != lines.rows
    return _strict_rows(path, "\t", len(lines.header)) is None


def _lines(path: Path, separator: str) -> _Lines | None:
    with _opened(path) as file:
        lines = ((number, line.rstrip("\n")) for number, line in enumerate(file, 1) if not _blank(line, separator))
        first = next(lines, None)
        if first is None:
            return None
        header = first[1].split(separator)
        marks = '"' in first[1]
        rows, short, long, stray, wrapped, bare, doubled = 0, [], None, False, False, False, False
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
    """The layout where quotation marks wrap texts, as pandas reads them."""
    single, joined = set(), []
    header: list[str] = []
    at, rows, short, before = None, 0, [], 0
    with _opened(path, newline="") as file:
        held = _Held(file)
        for fields in csv.reader(held, delimiter=separator):
            begin, before = before + 1, held.count
            text = held.taken()
            if not fields or (len(fields) == 1 and _blank(fields[0], separator) and len(header) != 1):
                continue
            if not header:
                header = fields
                at = header.index(label) if label in header else None
                continue
            if len(fields) > len(header):
                if len(text) == 1:
                    raise _too_long(path, begin, len(fields), len(header))
                joined.append((begin, before, text))
            if len(fields) < len(header):
                short.append((rows, len(fields)))
            if len(text) > 1:
                joined.append((begin, before, text))
            elif at is not None and len(fields) == len(header):
                single.add(fields[at].strip())
            rows += 1
    for begin, end, text in joined:
        if _is_joined(text, separator, len(header), at, single):
            raise UserError(
                f"{path}: lines {begin} to {end} are read as one row, since a quotation mark opens in line {begin}: double the "
                "marks in texts and wrap the texts, or save the table as parquet."
            )
    return Table(tuple(header), True, rows, tuple(short))


def _is_joined(text: list[str], separator: str, width: int, at: int | None, labels: set[str]) -> bool:
    """Whether the lines of one row with line breaks are rows of their own, which a stray quotation mark joins."""
    try:
        row = next(csv.reader(text, delimiter=separator, strict=True))
    except csv.Error:
        return True
    lines = [line.rstrip("\r\n").split(separator) for line in text]
    if len(row) != width:
        return True
    if any(len(fields) != width for fields in lines):
        return False
    return at is None or all(fields[at].strip() in labels for fields in lines[:-1])


def _strict_rows(path: Path, separator: str, width: int) -> int | None:
    """The rows of a table whose every quotation mark wraps a text or is doubled in one; None if it is not such a table."""
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


class _Held:
    """Passes the lines of a file on and keeps those of the row that is being read."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.count, self.lines = file, 0, []

    def __iter__(self) -> Iterator[str]:
        for line in self.file:
            self.count += 1
            self.lines.append(line)
            yield line

    def taken(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines


def count_json_lines(path: str | Path) -> int | None:
    """The objects of a file that has one a line; None where its lines are something else."""
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
        yield file


def _blank(line: str, separator: str) -> bool:
    """Lines that pandas skips."""
    return not line.strip("\r\n " if separator == "\t" else "\r\n \t")


def _number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True

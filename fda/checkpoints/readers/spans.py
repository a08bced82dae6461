"""Bytes that are read when they are needed: a stretch of a file, or of bytes in memory, and a cursor over one."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, eq=False)
class Span:
    """`length` bytes of `source` from `start` on."""

    source: Path | bytes
    start: int
    length: int

    def read(self, offset: int = 0, length: int | None = None) -> bytes:
        """`length` bytes from `offset` within the span (default: to its end), or fewer where the source ends."""
        part = self.part(offset, length)
        if isinstance(part.source, bytes):
            return part.source[part.start : part.start + part.length]
        with part.source.open("rb") as file:
            file.seek(part.start)
            return file.read(part.length)

    def part(self, offset: int, length: int | None = None) -> "Span":
        """The span that begins `offset` bytes later, cut to what is there."""
        left = max(self.length - offset, 0)
        return Span(self.source, self.start + offset, left if length is None else min(length, left))


class Cursor:
    """Reads a span from its beginning, as a file is read, in large steps; never beyond its end."""

    CHUNK = 1 << 20

    def __init__(self, span: Span) -> None:
        self.span = span
        self.place = 0
        self._at, self._chunk = 0, b""

    @property
    def left(self) -> int:
        return self.span.length - self.place

    def read(self, length: int) -> bytes:
        """The next `length` bytes, or fewer at the end: never allocates more than there is."""
        length = max(min(length, self.left), 0)
        first = self.place - self._at
        if first < 0 or first + length > len(self._chunk):
            self._at, self._chunk = self.place, self.span.read(self.place, max(length, self.CHUNK))
            first = 0
        data = self._chunk[first : first + length]
        self.place += len(data)
        return data

    def readline(self) -> bytes:
        """Up to and with the next line end, as the oldest pickle opcodes need; at most a megabyte."""
        parts, length = [], 0
        while length < self.CHUNK and self.left:
            self._fill()
            first = self.place - self._at
            end = self._chunk.find(b"\n", first, first + self.CHUNK - length) + 1
            parts.append(self._chunk[first : end or first + self.CHUNK - length])
            self.place += len(parts[-1])
            length += len(parts[-1])
            if end or not parts[-1]:
                break
        return b"".join(parts)

    def _fill(self) -> None:
        """Let the next byte be in the chunk: what stands there is used to its end, so that no byte is copied twice."""
        if not self._at <= self.place < self._at + len(self._chunk):
            self._at, self._chunk = self.place, self.span.read(self.place, self.CHUNK)

    def skip(self, length: int) -> Span:
        """The next `length` bytes as a span, unread. ValueError if there are not so many."""
        if not 0 <= length <= self.left:
            raise ValueError(f"{length} bytes are announced where {self.left} are left")
        span = self.span.part(self.place, length)
        self.place += length
        return span

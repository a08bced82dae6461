"""Bytes read on demand: a range of a file or of bytes in memory, and a cursor over it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, eq=False)
class Span:
    """`length` bytes of `source`, beginning at `start`."""

    source: Path | bytes
    start: int
    length: int

    def read(self, offset: int = 0, length: int | None = None) -> bytes:
        """Read `length` bytes from `offset` within the span (default: to its end), or fewer where the source ends."""
        part = self.part(offset, length)
        if isinstance(part.source, bytes):
            return part.source[part.start : part.start + part.length]
        with part.source.open("rb") as file:
            file.seek(part.start)
            return file.read(part.length)

    def part(self, offset: int, length: int | None = None) -> "Span":
        """Return the span that begins `offset` bytes later, cut to the end of this one."""
        left = max(self.length - offset, 0)
        return Span(self.source, self.start + offset, left if length is None else min(length, left))


class Cursor:
    """Reads a span like a file from its beginning, in large chunks; never beyond its end."""

    CHUNK = 1 << 20

    def __init__(self, span: Span) -> None:
        self.span = span
        self._position = 0
        self._chunk_start, self._chunk = 0, b""

    @property
    def left(self) -> int:
        return self.span.length - self._position

    def read(self, length: int) -> bytes:
        """Read the next `length` bytes, or fewer at the end. Never allocates more than remains."""
        length = max(min(length, self.left), 0)
        first = self._position - self._chunk_start
        if first < 0 or first + length > len(self._chunk):
            self._chunk_start, self._chunk = self._position, self.span.read(self._position, max(length, self.CHUNK))
            first = 0
        data = self._chunk[first : first + length]
        self._position += len(data)
        return data

    def readline(self) -> bytes:
        """Read up to and including the next line end, for the oldest pickle opcodes; at most a megabyte."""
        parts, length = [], 0
        while length < self.CHUNK and self.left:
            self._fill()
            first = self._position - self._chunk_start
            end = self._chunk.find(b"\n", first, first + self.CHUNK - length) + 1
            parts.append(self._chunk[first : end or first + self.CHUNK - length])
            self._position += len(parts[-1])
            length += len(parts[-1])
            if end or not parts[-1]:
                break
        return b"".join(parts)

    def _fill(self) -> None:
        """Load the next chunk once the current one is used up, so that no byte is copied twice."""
        if not self._chunk_start <= self._position < self._chunk_start + len(self._chunk):
            self._chunk_start, self._chunk = self._position, self.span.read(self._position, self.CHUNK)

    def skip(self, length: int) -> Span:
        """Return the next `length` bytes as a span, unread. ValueError if fewer remain."""
        if not 0 <= length <= self.left:
            raise ValueError(f"{length} bytes are announced where {self.left} are left")
        span = self.span.part(self._position, length)
        self._position += length
        return span

"""An object as a stream: read forwards by large requests, and by small ones where it is read here and there.

Input: an object that gives any of its bytes. Output: what Python's `open` gives.
"""

from __future__ import annotations

import io
from typing import BinaryIO, Protocol, cast

STREAM_BYTES = 1 << 23
"""What a stream asks for at a time."""

SOUGHT_BYTES = 1 << 18
"""What an unbuffered one asks for after a jump: a header most often. Going on from there it asks for twice as much."""
GOING_ON_BYTES = 1 << 20
"""How far a jump may be that is none: from header to header over what is between."""


class Readable(Protocol):
    """What gives any bytes of a file."""

    @property
    def size(self) -> int:
        """Bytes of all of it."""
        ...

    def read_some(self, offset: int, most: int) -> bytes:
        """Return so many bytes, or as many as there are."""
        ...


def streamed(file: Readable, sought: int) -> BinaryIO:
    """Return a stream that asks for so many bytes after a jump, and for twice as many each time that it goes on."""
    return cast(BinaryIO, io.BufferedReader(_Raw(file, sought), STREAM_BYTES))


class _Raw(io.RawIOBase):
    """An object as a stream that asks for so many bytes after a jump."""

    def __init__(self, file: Readable, sought: int) -> None:
        self._file = file
        self._sought = sought
        self._at = self._end = 0
        self._asked = STREAM_BYTES

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._file.size if whence == io.SEEK_END else 0)[whence]
        return self._at

    def readall(self) -> bytes:
        """Read what is left, in large pieces: Python would ask for it by 8 KiB."""
        return b"".join(iter(lambda: self.read(STREAM_BYTES), b""))

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        goes_on = 0 <= self._at - self._end <= GOING_ON_BYTES
        self._asked = min(2 * self._asked, STREAM_BYTES) if goes_on else self._sought
        most = len(buffer) if self._asked == STREAM_BYTES else min(len(buffer), self._asked)
        content = self._file.read_some(self._at, most)
        buffer[: len(content)] = content
        self._at += len(content)
        self._end = self._at
        return len(content)

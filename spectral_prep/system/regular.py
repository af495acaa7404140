"""Reading a file that may have come from anybody: a regular file, opened without waiting, never more of it than wanted.

Input: a path. Output: bytes. A pipe, a socket or a device in the place of a file would hang the reader or never end.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RegularFile:
    """An open regular file; a context manager, which closes it."""

    descriptor: int
    size: int

    def __enter__(self) -> RegularFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def read(self, offset: int, size: int) -> bytes:
        """Return these bytes.

        Raises
        ------
        ValueError
            If they do not all lie in the file.
        OSError
            If the disk fails.
        """
        if not 0 <= offset <= offset + size <= self.size:
            raise ValueError(f"{size} bytes from byte {offset} on do not lie in a file of {self.size} bytes")
        content = os.pread(self.descriptor, size, offset)
        if len(content) != size:
            raise ValueError(f"ends at byte {offset + len(content)}, expected {offset + size}")
        return content


def open_regular(path: Path) -> RegularFile:
    """Open a file for reading.

    Raises
    ------
    ValueError
        If it is no regular file.
    OSError
        If it is not there or may not be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise ValueError(f"{path.name} is not a regular file")
    return RegularFile(descriptor, found.st_size)


def read_regular(path: Path, at_most: int) -> bytes:
    """Return a whole file of at most so many bytes; raises as `open_regular` does, and ValueError for a longer one."""
    with open_regular(path) as file:
        if file.size > at_most:
            raise ValueError(f"{path.name} has {file.size} bytes, expected at most {at_most}")
        return file.read(0, file.size)

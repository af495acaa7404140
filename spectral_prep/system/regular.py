"""Reading a file that may have come from anybody: a regular file, opened without waiting, never more of it than wanted.

Input: a path. Output: bytes. A pipe, a socket or a device in the place of a file would hang the reader or never end.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

EMPTY = "an empty folder"
OUTSIDE = frozenset(("", ".", ".."))
"""Parts of a path that name nothing in a folder."""


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

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return several pieces, each (offset, size); raises what `read` raises."""
        return [self.read(offset, size) for offset, size in ranges]


def open_regular(path: Path) -> RegularFile:
    """Open a file, or what a link leads to, for reading.

    Raises
    ------
    ValueError
        If it is no regular file.
    OSError
        If it is not there or may not be read.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # opening a device can do something
        raise ValueError(f"{path.name} is not a regular file")
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise ValueError(f"{path.name} is not a regular file")
    return RegularFile(descriptor, found.st_size)


def stream_regular(path: Path, buffering: int = -1) -> BinaryIO:
    """Open a file for reading as Python's `open(path, "rb", buffering)` does; raises as `open_regular` does."""
    return os.fdopen(open_regular(path).descriptor, "rb", buffering)


def read_regular(path: Path, at_most: int) -> bytes:
    """Return a whole file of at most so many bytes; raises as `open_regular` does, and ValueError for a longer one."""
    with open_regular(path) as file:
        if file.size > at_most:
            raise ValueError(f"{path.name} has {file.size} bytes, expected at most {at_most}")
        return file.read(0, file.size)


def regular_below(root: Path, path: str) -> bool:
    """Whether a regular file has this path below a folder, and no part of the path is a symbolic link.

    Only the root itself may be a link: what lies in it stays in it.
    """
    place = root
    *folders, name = parts = path.split("/")
    if not OUTSIDE.isdisjoint(parts):
        return False
    for folder in folders:
        place = place / folder
        if not _is(place, stat.S_ISDIR):
            return False
    return _is(place / name, stat.S_ISREG)


def irregular(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield what is neither file nor folder below a folder, and folders with nothing in them, each with what it is."""
    waiting = _within(root)[::-1]
    while waiting:
        entry = waiting.pop()
        if entry.is_symlink():
            yield Path(entry.path), "a symbolic link"
        elif entry.is_dir(follow_symlinks=False):
            if not (within := _within(entry)):
                yield Path(entry.path), EMPTY
            waiting += within[::-1]
        elif not entry.is_file(follow_symlinks=False):
            yield Path(entry.path), "a pipe, socket or device"


def _within(folder: Path | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is(path: Path, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(os.lstat(path).st_mode)
    except OSError:
        return False

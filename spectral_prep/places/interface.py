"""What can be done at a place, on a file system or in a bucket: one Protocol, which is all that the house knows.

`disk.DiskPlace` and `objects.ObjectPlace` implement it; `spectral_prep.places.at` chooses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO, NamedTuple, Protocol

from spectral_prep.places.url import Place
from spectral_prep.system.files import Advice, Unfinished

IN_MEMORY_BYTES = 1 << 20
"""Of a file that is being written for a bucket; what is larger goes into a scratch file."""


class Entry(NamedTuple):
    """A file below a folder: its path relative to it, with slashes, and its bytes."""

    path: str
    size: int


class State(NamedTuple):
    """The bytes of a file and when it was last changed, in ns."""

    size: int
    changed_ns: int


class OpenFile(Protocol):
    """A file that is read piece by piece; a context manager."""

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """Return these bytes; `ValueError` if they do not all lie in the file, `OSError` if it cannot be read."""
        ...

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return several pieces, each (offset, size), with as few requests as that takes; raises as `read` does."""
        ...

    def __enter__(self) -> OpenFile: ...

    def __exit__(self, *_: object) -> None: ...


class NewFile(Unfinished, Protocol):
    """An `Unfinished` file of either kind, and what is known of it."""

    @property
    def place(self) -> Place:
        """Where it will be."""
        ...

    @property
    def size(self) -> int:
        """Bytes appended so far."""
        ...

    @property
    def sha256(self) -> str:
        """Of what was appended so far, in hexadecimal digits."""
        ...


class Here(Protocol):
    """What can be done at one place.

    A file is written as a whole or not at all: no reader ever sees a part of one. Any method raises `InputError` where
    the place may not be used, and `StorageError` where the disk or the object store fails.
    """

    def open(self) -> OpenFile:
        """Open the file here; `ValueError` if it is none that can be read to its end, `OSError` if it is not there."""
        ...

    def stream(self, buffering: int = -1) -> BinaryIO:
        """Open the file here as Python's `open(…, "rb", buffering)` does; raises as `open` does."""
        ...

    def read(self, at_most: int) -> bytes:
        """Return the whole file; `ValueError` if it is longer; raises as `open` does."""
        ...

    def size(self) -> int | None:
        """Return the bytes of the file here, None if there is none."""
        ...

    def new(self, advice: Advice) -> NewFile:
        """Begin to write the file here; `advice` is for the user whose file cannot be written."""
        ...

    def finish(self, files: Sequence[NewFile]) -> None:
        """Finish several files at places of this kind."""
        ...

    def create(self, content: bytes, advice: Advice) -> bool:
        """Write the file here unless there is one, and return whether it was written; of many only one ever is."""
        ...

    def remove(self) -> None:
        """Remove the file here, if there is one, for good."""
        ...

    def state(self) -> State:
        """Return what tells this state of the file from its others; raises as `open` does."""
        ...

    def is_folder(self) -> bool:
        """Whether this is a folder."""
        ...

    def folders(self) -> list[str]:
        """Return the names of the folders in this one, in order."""
        ...

    def names(self) -> list[str]:
        """Return the names of the files in this folder, in order."""
        ...

    def children(self) -> list[str]:
        """Return the names of all that is directly in this folder, in order."""
        ...

    def files(self) -> Iterator[Entry]:
        """Yield every regular file below this folder, in no order."""
        ...

    def paths(self) -> Iterator[str]:
        """Yield the path below this folder of all that is no folder, in no order; links to folders are followed."""
        ...

    def holds(self, path: str) -> bool:
        """Whether a regular file has this path below this folder, and no part of the path leads out of it."""
        ...

    def oddities(self) -> Iterator[tuple[Place, str]]:
        """Yield what is neither file nor folder below this folder, and empty folders, each with what it is."""
        ...

    def sync(self, advice: Advice) -> None:
        """Put the names in this folder, and its own, on the disk."""
        ...

    def shared_use(self, advice: Advice) -> AbstractContextManager[None]:
        """Say that this process writes in this folder, which is made if need be (`system.locks`)."""
        ...

    def tidy(self, advice: Advice) -> None:
        """Remove what killed writers left below this folder, unless somebody writes in it."""
        ...

    def prune(self) -> None:
        """Remove the folders below this one that hold nothing, unless somebody writes in it."""
        ...

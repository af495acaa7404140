"""A gzip-compressed tar, read in its stored order without unpacking it.

Gzip can only be decompressed forwards. So that blocks can be begun anywhere, by several workers and tasks:

1. One pass over the whole stream (stdlib gzip, which checks its checksum) finds the members.
2. A second one (indexed_gzip) keeps at most 8192 seek points of 32 KiB: 256 MiB, whatever the size of the archive.
3. A reader decompresses from the last seek point before a row and keeps as much as lies between two of them; the rows
   that follow are then there. Each byte is decompressed about twice.

What the two passes find is kept as long as the conversion is unfinished: the next run, or the next task, needs neither.
For a terabyte seek points are 128 MiB apart; making them takes about 0.8 GB of memory, and a worker about 0.4 GB.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, ClassVar, cast

import numpy as np
import numpy.typing as npt

from spectral_prep.errors import CorruptSourceError, StorageError
from spectral_prep.places import at, copy_to
from spectral_prep.places.url import Place
from spectral_prep.sources.archive import Archive
from spectral_prep.sources.locations import Locations, StagedLocations
from spectral_prep.sources.opening import GZIP_MAGIC, explained, not_regular, opened, optional, unzipped
from spectral_prep.sources.row_table import StagedRows
from spectral_prep.sources.tars import Member, walk
from spectral_prep.system.files import AtomicFile, explain
from spectral_prep.system.staging import SCRATCH

MEMBERS, SEEK_POINTS = ".members", ".seekpoints"
MOST_SEEK_POINTS = 8192
CLOSEST_SEEK_POINTS = 4 << 20
READ_BYTES = 1 << 20
KEPT_BYTES = 4096

LOG = logging.getLogger(__name__)


def is_gzip(path: Place) -> bool:
    """Whether the content of a file, not its name, is gzip's; of one in a bucket two bytes are fetched."""
    with explained(path):
        try:
            file = at(path).open()
        except ValueError as error:
            raise not_regular(path) from error
        with file:
            try:
                return file.read(0, len(GZIP_MAGIC)) == GZIP_MAGIC
            except ValueError:  # it is shorter
                return False


def zipped_members(path: Place, tar: str = "") -> Iterator[Member]:
    """Yield what `members` does, offsets counted in the decompressed stream.

    Raises
    ------
    CorruptSourceError
        If the archive is truncated or damaged; its checksum is checked once the last member was taken.
    """
    with zipped_stream(path) as stream:
        yield from walk(stream, str(path), sys.maxsize, tar)


@contextmanager
def zipped_stream(path: Place) -> Iterator[BinaryIO]:
    """Open a compressed archive as a file that is read forwards; at the end its checksum is checked."""
    with explained(path), opened(path) as raw, unzipped(raw) as plain:
        yield cast(BinaryIO, ForwardFile(plain))
        while plain.read(READ_BYTES):  # to the end, where the checksum is
            pass


def kept_members(path: Place, tar: str, kept: Path) -> Iterator[Member]:
    """Yield what `zipped_members` does, from a list in the folder `kept` where an earlier pass left one."""
    found = kept / f"{Archive.of(path).key}{MEMBERS}"
    if found.exists():
        with explained(found), open(found, "rb") as lines:
            for line in lines:
                yield Member(*json.loads(line))
        return
    file = AtomicFile(found, SCRATCH)
    try:
        for member in zipped_members(path, tar):
            file.append(json.dumps(member).encode() + b"\n")
            yield member
        file.finish()
    finally:
        file.abandon()


class ForwardFile:
    """A stream that is read forwards only, as a file in which tarfile may step back by a header or so."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._kept = b""
        self._kept_end = self._at = 0

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, position: int) -> int:
        """Move forwards as far as wanted, or back by at most 4096 bytes."""
        if position < self._kept_end - len(self._kept):
            raise OSError(f"cannot step back from byte {self._kept_end} to {position}")
        while self._kept_end < position and self._fetch(min(READ_BYTES, position - self._kept_end)):
            pass
        self._at = position
        return position

    def read(self, count: int) -> bytes:
        """Return the next bytes, fewer at the end."""
        behind = self._kept_end - self._at
        if behind < 0:  # a seek beyond the end
            return b""
        content = self._kept[len(self._kept) - behind :][:count] if behind else b""
        while len(content) < count and (more := self._fetch(count - len(content))):
            content += more
        self._at += len(content)
        return content

    def _fetch(self, count: int) -> bytes:
        content = self._stream.read(count)
        self._kept = (self._kept + content)[-KEPT_BYTES:]
        self._kept_end += len(content)
        return content


@dataclass(frozen=True)
class GzipReader:
    """Reads the rows of one split from gzip-compressed archives, in their order; others among them are read in place.

    `kept` is the folder of the archives' seek points.
    """

    random_access: ClassVar[bool] = False  # a row that does not follow costs decompressing up to it
    needs_scratch: ClassVar[bool] = True  # 256 MiB of seek points are not sent with every block

    locations: Locations
    streams: Streams

    @classmethod
    def over(cls, rows: StagedRows, archives: Sequence[Archive], kept: Path) -> GzipReader:
        """Return a reader, after putting the seek points of the archives into the folder `kept`, unless they are there.

        Raises
        ------
        InputError
            If indexed_gzip is not installed.
        StorageError
            If the seek points do not fit on the disk.
        """
        reader = cls(StagedLocations.over(rows, archives), Streams(kept))
        for archive in archives:
            if is_gzip(archive.place):
                _put_seek_points(reader.streams.of(archive), rows.path(SEEK_POINTS))
        return reader

    def for_rows(self, ids: npt.NDArray[np.int32]) -> GzipReader:
        """Return what reads these rows; in this process it goes on with what is decompressed."""
        return GzipReader(self.locations.for_rows(ids), self.streams)

    def read(self, row_id: int, name: str) -> bytes:
        """Return the bytes of one row's member."""
        archive, offset, size = self.locations.of(row_id)
        stream = self.streams.of(archive)
        if not stream.seek_points.exists():
            return archive.read(offset, size)
        try:
            content = stream.read(offset, size)
        except OSError as error:
            raise StorageError("reading failed", where=f"{archive.path}!{name}", got=error) from error
        if len(content) != size:
            raise CorruptSourceError("truncated gzip file", where=f"{archive.path}!{name}")
        return content


class Streams:
    """The streams of several archives, of which one at a time is decompressed."""

    def __init__(self, kept: Path) -> None:
        self._kept = kept
        self._last: SeekableStream | None = None

    def __reduce__(self) -> tuple[object, ...]:  # without a stream: a worker opens its own
        return type(self), (self._kept,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Streams) and self._kept == other._kept

    def of(self, archive: Archive) -> SeekableStream:
        """Return the stream of an archive; that of the one before is let go."""
        if self._last is None or self._last.archive != archive:
            self._last = SeekableStream(archive, self._kept / f"{archive.key}{SEEK_POINTS}")
        return self._last


def _put_seek_points(stream: SeekableStream, growing: Path) -> None:
    if stream.seek_points.exists():
        return
    path = stream.archive.path
    with explained(path):
        points = _indexed_gzip().IndexedGzipFile(path, spacing=stream.spacing, skip_crc_check=True)
        points.build_full_index()
    try:
        points.export_index(str(growing))
        with open(growing, "rb") as file:
            os.fsync(file.fileno())
        stream.seek_points.parent.mkdir(parents=True, exist_ok=True)
        os.replace(growing, stream.seek_points)
    except OSError as error:
        raise explain(error, growing, SCRATCH) from error


def near(path: Place, kept: Path) -> Path:
    """Return a path of a gzip-compressed archive: of one in a bucket a copy, since its seek points need all of it."""
    if isinstance(path, Path):
        return path
    copy = kept / Archive.of(path).key / path.name
    if not copy.exists():
        LOG.warning("Copying %s to %s: a compressed archive cannot be read in place", path, copy)
        copy_to(copy, path, SCRATCH)
    return copy


@dataclass(frozen=True)
class SeekableStream:
    """The decompressed content of an archive."""

    archive: Archive
    seek_points: Path

    @property
    def spacing(self) -> int:
        """Bytes between two seek points."""
        return max(CLOSEST_SEEK_POINTS, self.archive.size // MOST_SEEK_POINTS)

    def read(self, offset: int, size: int) -> bytes:
        """Return some bytes, fewer at the end."""
        return self._window.read(offset, size)

    @cached_property
    def _window(self) -> _Window:
        return _Window(self.archive, self.seek_points, self.spacing)

    def __reduce__(self) -> tuple[object, ...]:  # without the window: a worker opens its own
        return type(self), (self.archive, self.seek_points)


class _Window:
    """What was decompressed last: `length` bytes from the row that needed it."""

    def __init__(self, archive: Archive, seek_points: Path, length: int) -> None:
        self._archive, self._length = archive, length
        archive.check()
        self._file = _indexed_gzip().IndexedGzipFile(archive.path, index_file=str(seek_points))
        self._start, self._content = 0, b""

    def read(self, offset: int, size: int) -> bytes:
        if not (self._start <= offset and offset + size <= self._start + len(self._content)):
            self._archive.check()
            self._file.seek(offset)
            self._start, self._content = offset, b""  # two windows at a time would double the memory
            self._content = self._file.read(max(size, self._length))
        return self._content[offset - self._start : offset - self._start + size]


def _indexed_gzip() -> ModuleType:
    return optional("indexed_gzip", "gzip")

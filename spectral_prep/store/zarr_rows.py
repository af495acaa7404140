"""Reading the arrays of a Zarr spectral folder: bytes of a chunk → crc32c → zstd → values, and nothing more.

Input: the folder of an array whose metadata `zarr_metadata` has found to be what this format writes. Output: values. It
undoes what `zarr_store.ZarrParts` does, in as many lines, for two reasons:

* A shard is read wherever it came from. No codec is chosen by its metadata, no missing chunk becomes zeros, and a chunk
  is never decompressed into more bytes than it stands for.
* It is read batch after batch while a network trains.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
from numcodecs.zstd import Zstd

from spectral_prep.places import at, exists
from spectral_prep.places.interface import OpenFile
from spectral_prep.places.url import Place
from spectral_prep.store.interface import PIECE_BYTES, SpectralArray
from spectral_prep.store.layout import SpectralPaths
from spectral_prep.store.zarr_metadata import LABEL_CHUNK_ROWS, read_label_type

CHECKSUM_BYTES = 4
SLACK_BYTES = 1 << 10
"""How much longer than its values a compressed chunk may be."""


@dataclass(frozen=True)
class ZarrRows:
    """The `x` of one split of one spectral folder; a `Rows`."""

    root: Place
    split: str
    array: SpectralArray
    _indexes: dict[int, npt.NDArray[np.uint64]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def piece_rows(self) -> int:
        """About a MiB of whole chunks."""
        return self.array.chunk_rows * max(1, PIECE_BYTES // self._chunk_bytes)

    def read(self, start: int, stop: int, into: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Return `x` of these rows; the crc32c of their chunks and of the part's index is checked."""
        array = self.array
        values_NChw = np.empty((stop - start, *array.image_shape), array.dtype) if into is None else into
        dtype = np.dtype(array.dtype).newbyteorder("<")
        number, first = divmod(start, array.block_rows)
        part = SpectralPaths(self.root).part(self.split, number, "zarr")
        chunks = range(first // array.chunk_rows, math.ceil((first + stop - start) / array.chunk_rows))
        with at(part).open() as file:
            if number not in self._indexes:
                self._indexes[number] = self._index(file)
            places = [self._place(*self._indexes[number][chunk].tolist()) for chunk in chunks]
            contents = file.read_ranges(places)
        aside_NChw = np.empty((array.chunk_rows, *array.image_shape), dtype)
        for chunk, content in zip(chunks, contents, strict=True):
            begin = chunk * array.chunk_rows - first
            wanted = slice(max(0, -begin), min(array.chunk_rows, len(values_NChw) - begin))
            own_NChw = values_NChw[begin + wanted.start : begin + wanted.stop]
            whole = len(own_NChw) == array.chunk_rows and dtype == own_NChw.dtype and own_NChw.flags.c_contiguous
            chunk_NChw = own_NChw if whole else aside_NChw
            _decode(_checked(content, f"chunk {chunk}"), array.compression, chunk_NChw, f"chunk {chunk}")
            if not whole:
                own_NChw[...] = chunk_NChw[wanted]
        return values_NChw

    def part_labels(self, start: int, stop: int) -> None:
        """Return None: labels stand in `y` only."""
        return

    @property
    def _chunk_bytes(self) -> int:
        return self.array.chunk_rows * math.prod(self.array.image_shape) * np.dtype(self.array.dtype).itemsize

    def _index(self, file: OpenFile) -> npt.NDArray[np.uint64]:
        """Return (offset, nbytes) of each chunk of a part."""
        chunks = self.array.block_rows // self.array.chunk_rows
        size = chunks * 16 + CHECKSUM_BYTES
        content = _checked(file.read(file.size - size, size), "the index")
        return np.frombuffer(content, "<u8").reshape(chunks, 2)

    def _place(self, offset: int, size: int) -> tuple[int, int]:
        """Return where a chunk is, unless it is too long to be one."""
        if size > self._chunk_bytes + SLACK_BYTES:
            raise ValueError(f"a chunk of {size} bytes at byte {offset}, expected at most {self._chunk_bytes}")
        return offset, size


def read_labels(folder: Place, rows: int) -> npt.NDArray[Any]:
    """Return the values (N,) of the array `y` or `id` in this folder.

    Raises
    ------
    ValueError, OSError
        If its metadata or a chunk is not what this format writes for so many rows.
    """
    dtype = read_label_type(folder / "zarr.json", rows)
    chunk_rows = min(rows, LABEL_CHUNK_ROWS)
    if rows and not exists(folder / "c" / f"{(rows - 1) // chunk_rows}"):  # before there is memory for so many
        raise ValueError(f"{folder.name}/c/{(rows - 1) // chunk_rows} is not there, or is not a regular file")
    padded = np.empty(math.ceil(rows / chunk_rows) * chunk_rows if rows else 0, np.dtype(dtype).newbyteorder("<"))
    for number, start in enumerate(range(0, rows, chunk_rows or 1)):
        chunk = at(folder / "c" / f"{number}").read(chunk_rows * padded.itemsize + SLACK_BYTES)
        content = _checked(chunk, f"{folder.name}/c/{number}")
        _decode(content, "zstd", padded[start : start + chunk_rows], f"{folder.name}/c/{number}")
    return padded[:rows]


def _checked(content: bytes, what: str) -> npt.NDArray[np.uint8]:
    """Return what stands before the checksum, if it is right: a view, since a copy costs more than all else here."""
    inner, checksum = np.frombuffer(content, np.uint8)[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
    if len(content) < CHECKSUM_BYTES or google_crc32c.value(inner) != int.from_bytes(checksum, "little"):
        raise ValueError(f"{what} does not match its crc32c")
    return inner


def _decode(content: npt.NDArray[np.uint8], compression: str, into: npt.NDArray[Any], what: str) -> None:
    """Fill an array with the values of a chunk: all of it, and no byte more."""
    if compression == "none":
        if len(content) != into.nbytes:
            raise ValueError(f"{what} has {len(content)} bytes, expected {into.nbytes}")
        into[...] = content.view(into.dtype).reshape(into.shape)
        return
    if (stated := content_size(content)) != into.nbytes:
        raise ValueError(f"{what} says that it holds {stated} bytes, expected {into.nbytes}")
    _zstd().decode(content, out=into)


def content_size(frame: bytes | npt.NDArray[np.uint8]) -> int | None:
    """Return the content size that a zstd frame states (RFC 8878, section 3.1.1.1), None if it states none.

    >>> content_size(Zstd(1).encode(bytes(1000)))
    1000
    """
    if len(frame) < 5 or bytes(frame[:4]) != b"\x28\xb5\x2f\xfd":
        return None
    descriptor = frame[4]
    single_segment = descriptor >> 5 & 1
    start = 5 + (not single_segment) + (0, 1, 2, 4)[descriptor & 3]
    length = (single_segment, 2, 4, 8)[descriptor >> 6]
    if not length:
        return None
    stated = int.from_bytes(frame[start : start + length], "little")
    return stated + 256 if length == 2 else stated


@functools.cache
def _zstd() -> Zstd:
    return Zstd(1)

"""Spectral folders as WebDataset tars: one tar a block, byte for byte what webdataset's own `TarWriter` writes.

A row is two members: `<key>.cls`, its label as text, −1 for a bad row, and `<key>.x.npy`, (C, h, w) as stored: int8
still wants the scalars of `spectral.json`. `<key>` is the row's place in its split, nine digits, so that the same image
has the same key in every spectral folder. Times, owners and modes are fixed: equal rows give equal bytes.

Label and row id of each place also stand in two arrays, `<split>-y.npy` and `<split>-id.npy`, since training and
verifying want them without reading every tar.

All rows of a split take the same number of bytes, so a chunk of rows is one structured array, `_frame`, of which only
`x` differs between the Q spectrals. (`tarfile` takes 40 µs for each header: that would be 1.3 ms an image at Q = 16.)
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spectral_prep.choices import Compression
from spectral_prep.places import at
from spectral_prep.places.url import Place
from spectral_prep.store.interface import PIECE_BYTES, SpectralArray
from spectral_prep.store.layout import SpectralPaths

HEADER = np.dtype([("name", "S100"), ("before", "V48"), ("checksum", "S8"), ("after", "V356")])
OWNER, MODE = "bigdata", 0o444
"""What webdataset's TarWriter says unless told otherwise."""


class WebDatasetParts:
    """Encodes the Q tars of one block; a `PartEncoder`."""

    def __init__(self, array: SpectralArray, q: int, start: int) -> None:
        self._frame = _frame(array.dtype, array.image_shape)
        self._npy = _npy_header(array.dtype, array.image_shape)
        self._q = q
        self._start = self._next = start

    def chunk(self, values_QNChw: npt.NDArray[Any], labels_N: npt.NDArray[Any]) -> Iterator[bytes]:
        """Yield the next rows of each of the Q tars."""
        rows = np.zeros(len(labels_N), self._frame)
        texts = [str(label).encode() for label in labels_N.tolist()]
        rows["cls_header"] = _headers(_names(self._next, len(rows), "cls"), [len(text) for text in texts])
        rows["cls"] = texts
        rows["x_header"] = _headers(
            _names(self._next, len(rows), "x.npy"), [len(self._npy) + rows["x"][0].nbytes] * len(rows)
        )
        rows["npy"] = np.void(self._npy)
        self._next += len(rows)
        for values_NChw in values_QNChw:
            rows["x"] = values_NChw
            yield rows.tobytes()

    def end(self) -> Iterator[bytes]:
        """Yield the end of each of the Q tars: two empty blocks, and more up to a whole record."""
        written = (self._next - self._start) * self._frame.itemsize
        least = written + 2 * tarfile.BLOCKSIZE
        for _ in range(self._q):
            yield bytes(_whole(least, tarfile.RECORDSIZE) - written)


@dataclass(frozen=True)
class WebDatasetRows:
    """The tars of one split of one spectral folder; a `Rows`."""

    root: Place
    split: str
    image_shape: tuple[int, int, int]
    dtype: str
    block_rows: int

    @property
    def piece_rows(self) -> int:
        """About a MiB."""
        return max(1, PIECE_BYTES // _frame(self.dtype, self.image_shape).itemsize)

    def read(self, start: int, stop: int, into: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Return `x` of these rows; ValueError if their members are not the ones that belong there."""
        values_NChw = np.empty((stop - start, *self.image_shape), self.dtype) if into is None else into
        values_NChw[...] = self._members(start, stop)["x"]
        return values_NChw

    def part_labels(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return `cls` of these rows."""
        return self._members(start, stop)["cls"].astype(np.int32)

    def _members(self, start: int, stop: int) -> npt.NDArray[Any]:
        part = SpectralPaths(self.root).part(self.split, start // self.block_rows, "webdataset")
        frame = _frame(self.dtype, self.image_shape)
        first = start - start % self.block_rows
        with at(part).open() as file:
            if (whole := first + file.size // frame.itemsize) < stop:
                raise ValueError(f"ends at row {whole}, expected {stop}")
            content = file.read((start - first) * frame.itemsize, (stop - start) * frame.itemsize)
        rows = np.frombuffer(content, frame)
        for header, name in (("cls_header", "cls"), ("x_header", "x.npy")):
            wrong = np.flatnonzero(rows[header]["name"] != np.array(_names(start, stop - start, name)))
            if len(wrong):
                raise ValueError(f"row {start + wrong[0]} is called {rows[header]['name'][wrong[0]].decode('latin1')}")
        if rows["npy"].tobytes() != _npy_header(self.dtype, self.image_shape) * len(rows):
            raise ValueError(f"an image among rows {start} to {stop - 1} has another shape or dtype")
        return rows


@dataclass(frozen=True)
class WebDatasetStore:
    """Tars with one sample a row; a `Store`."""

    compressions: tuple[Compression, ...] = ("none",)
    checks_parts: bool = False

    def encoder(self, array: SpectralArray, q: int, start: int) -> WebDatasetParts:
        """Return what makes the Q tars of a block."""
        return WebDatasetParts(array, q, start)

    def label_files(
        self, labels: Mapping[str, npt.NDArray[Any]], ids: Mapping[str, npt.NDArray[Any]]
    ) -> dict[str, bytes]:
        """Return labels and ids of every split as .npy."""
        return {
            _side(split, name): _npy(values[split]) for split in labels for name, values in (("y", labels), ("id", ids))
        }

    def metadata_files(self, arrays: Mapping[str, SpectralArray], attributes: Mapping[str, Any]) -> dict[str, bytes]:
        """Return nothing: the attributes stand in `spectral.json` only."""
        return {}

    def labels(self, root: Place, split: str, rows: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return labels and row ids of a split; ValueError if a file is not the .npy of so many of them."""
        y, ids = (_read_side(root / _side(split, name), rows) for name in ("y", "id"))
        return y, ids

    def rows(
        self, root: Place, split: str, shape_NChw: tuple[int, int, int, int], dtype: str, block_rows: int
    ) -> WebDatasetRows:
        """Return the rows of a split."""
        return WebDatasetRows(root, split, shape_NChw[1:], dtype, block_rows)


def _side(split: str, name: str) -> str:
    return f"{split}-{name}.npy"


def _read_side(path: Place, rows: int) -> npt.NDArray[Any]:
    """Read a .npy whose header is the one that this format writes: no other is looked into."""
    with at(path).open() as file:
        for dtype in ("<i2", "<i4"):
            header = _npy_header(dtype, (rows,))
            size = len(header) + rows * np.dtype(dtype).itemsize
            if file.size == size and (content := file.read(0, size)).startswith(header):
                return np.frombuffer(bytearray(content), dtype, offset=len(header))
    raise ValueError(f"{path.name} is not the .npy of {rows} labels or ids")


def _npy(values: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def _npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    described = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, described)
    return buffer.getvalue()


def _frame(dtype: str, image_shape: tuple[int, int, int]) -> np.dtype[Any]:
    """Return how one row lies in a tar."""
    npy = len(_npy_header(dtype, image_shape))
    x = np.dtype((dtype, image_shape))
    block = tarfile.BLOCKSIZE
    return np.dtype(
        {
            "names": ["cls_header", "cls", "x_header", "npy", "x"],
            "formats": [HEADER, f"S{block}", HEADER, f"V{npy}", x],
            "offsets": [0, block, 2 * block, 3 * block, 3 * block + npy],
            "itemsize": 3 * block + _whole(npy + x.itemsize, block),
        }
    )


def _names(start: int, count: int, extension: str) -> list[bytes]:
    return [f"{place:09d}.{extension}".encode() for place in range(start, start + count)]


def _headers(names: Sequence[bytes], sizes: Sequence[int]) -> npt.NDArray[Any]:
    """Return tar headers of members: tarfile's own for each size, the name put in, the checksum made anew."""
    blank = {size: _blank_header(size) for size in set(sizes)}
    headers = np.stack([blank[size] for size in sizes])
    headers["name"] = names
    headers["checksum"] = b" " * 8  # as which it counts itself
    sums = headers.view(np.uint8).reshape(len(headers), -1).sum(axis=1, dtype=np.int64)
    headers["checksum"] = [b"%06o\0 " % total for total in sums.tolist()]
    return headers


def _blank_header(size: int) -> npt.NDArray[Any]:
    member = tarfile.TarInfo()
    member.size, member.mode, member.uname, member.gname = size, MODE, OWNER, OWNER
    return np.frombuffer(member.tobuf(tarfile.USTAR_FORMAT), HEADER).reshape(())


def _whole(size: int, unit: int) -> int:
    """Return the least multiple of a unit that is not below this size."""
    return -(-size // unit) * unit

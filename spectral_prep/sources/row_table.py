"""The rows of one split: gathered as they are found, put into canonical order, kept in scratch files.

1. `RowTable.add` and `add_files` append to growing arrays, about 60 bytes a row and no Python object, in
   whatever order rows come.
2. `RowTable.stage` sorts them by (file name, class, folder), byte by byte, so that the order does not depend on the
   container; where only the stored order can be read it keeps that.
3. It writes four columns to the scratch folder: names, where each ends, labels, and places (archive, offset, size).
4. `StagedRows` reads them back: the whole index for the converter, the spans of a few rows for whoever reads these.
"""

from __future__ import annotations

import os
import unicodedata
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spectral_prep.errors import CorruptSourceError, StorageError
from spectral_prep.printable import shown
from spectral_prep.sources.interface import RowIndex
from spectral_prep.sources.name_list import Names, encode, text_of
from spectral_prep.system.files import explain
from spectral_prep.system.staging import SCRATCH

WORD_BYTES = 8
LONGEST_NAME = 4096
"""Bytes, as Linux's PATH_MAX; sorting takes a pass over all rows for every eight."""

CHUNK_ROWS = 1 << 18
SPAN = np.dtype([("offset", "<i8"), ("size", "<u4"), ("archive", "<u4")])
NAMES, ENDS, LABELS, SPANS = ".names", ".ends", ".labels", ".spans"

Order = npt.NDArray[np.int32]


class Span(NamedTuple):
    """Where the bytes of a row are: from which byte on, how many, in which archive."""

    offset: int
    size: int
    archive: int


NOWHERE = Span(0, 0, 0)


class ClassNumbers:
    """The classes of a release while they are found, numbered as they come.

    Names that look alike and differ in their Unicode form alone ("é" in one code point or in two) are of one class,
    called as it was called first.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._known: dict[str, int] = {}  # by any name, and by its composed form

    def __len__(self) -> int:
        return len(self._numbers)

    def number(self, name: str) -> int:
        """Return the number of a class, a new one for a new class."""
        if (known := self._known.get(name)) is not None:
            return known
        number = self._known.setdefault(unicodedata.normalize("NFC", name), len(self._numbers))
        if number == len(self._numbers):
            self._numbers[name] = number
        self._known[name] = number
        return number

    def sorted(self) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
        """Return the texts of the class names, in order of their bytes, and the label each number stands for."""
        names = sorted(self._numbers, key=encode)
        labels = np.empty(len(names), np.int32)
        labels[[self._numbers[name] for name in names]] = np.arange(len(names), dtype=np.int32)
        return tuple(map(text_of, names)), labels


@dataclass(frozen=True)
class StagedRows:
    """The rows of one split in scratch files whose names begin with that of `stem`."""

    stem: Path
    rows: int

    def index(self) -> RowIndex:
        """Return names and labels, read into memory."""
        return RowIndex(
            Names(self._column(NAMES, np.uint8), self._column(ENDS, np.int64)), self._column(LABELS, np.int32)
        )

    def labels(self) -> npt.NDArray[np.int32]:
        """Return the labels alone, (rows,)."""
        return self._column(LABELS, np.int32)

    def span(self, row: int) -> Span:
        """Return where one row is; nothing else is read."""
        (found,) = self._column(SPANS, SPAN, count=1, offset=row * SPAN.itemsize)
        return Span(*found.item())

    def spans(self, rows: npt.NDArray[np.integer]) -> npt.NDArray[Any]:
        """Return where several rows are, (n,) of `SPAN`; only the pages of the file that these are on are read."""
        path = self.path(SPANS)
        try:
            return np.array(np.memmap(path, SPAN, "r")[rows]) if len(rows) else np.empty(0, SPAN)
        except (OSError, ValueError) as error:
            raise StorageError("cannot read the index back", where=path, got=error) from error

    def path(self, suffix: str) -> Path:
        """Return the scratch file that ends so."""
        return self.stem.with_name(self.stem.name + suffix)

    def _column(self, suffix: str, dtype: npt.DTypeLike, count: int = -1, offset: int = 0) -> npt.NDArray[Any]:
        path = self.path(suffix)
        try:
            return np.fromfile(path, dtype, count, offset=offset)
        except OSError as error:
            raise StorageError("cannot read the index back", where=path, got=error) from error


class RowTable:
    """The rows of one split while they are found."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._bounds = array("q", [0])
        self._folder_lengths = array("H")
        self._labels = array("i")
        self._offsets, self._sizes, self._archives = array("q"), array("I"), array("I")

    def __len__(self) -> int:
        return len(self._labels)

    def add(self, folder: str, file: str, label: int, span: Span = NOWHERE) -> None:
        """Append the row called "folder/file"; `label` may be a provisional number.

        Raises
        ------
        CorruptSourceError
            If that is longer than any path can be.
        """
        packed_folder, packed_file = encode(f"{folder}/"), encode(file)
        if len(packed_folder) + len(packed_file) > LONGEST_NAME:
            raise CorruptSourceError(
                "the name of an image is too long",
                where=shown(f"{folder}/{file}"),
                expected=f"at most {LONGEST_NAME} bytes",
                got=len(packed_folder) + len(packed_file),
            )
        self._text += packed_folder
        self._text += packed_file
        self._bounds.append(len(self._text))
        self._folder_lengths.append(len(packed_folder))
        self._labels.append(label)
        self._offsets.append(span.offset)
        self._sizes.append(span.size)
        self._archives.append(span.archive)

    def add_files(self, folder: str, files: Sequence[bytes], label: int, spans: npt.NDArray[Any]) -> None:
        """Append the rows called "folder/file" for several files, whose names have at most 100 bytes, of one class.

        `spans` (n,) of `SPAN` are where they are; raises as `add` does.
        """
        packed_folder = encode(f"{folder}/")
        if len(packed_folder) > LONGEST_NAME // 2:
            for file, span in zip(files, spans, strict=True):
                self.add(folder, os.fsdecode(file), label, Span(*span.item()))
            return
        lengths = np.fromiter(map(len, files), np.int64, len(files)) + len(packed_folder)
        bounds = len(self._text) + np.cumsum(lengths)
        self._text += packed_folder.join([b"", *files])
        self._bounds.frombytes(bounds.tobytes())
        self._folder_lengths.extend([len(packed_folder)] * len(files))
        self._labels.extend([label] * len(files))
        for column, name in ((self._offsets, "offset"), (self._sizes, "size"), (self._archives, "archive")):
            column.frombytes(spans[name].astype(column.typecode).tobytes())

    def stage(self, stem: Path, labels: npt.NDArray[np.int32] | None = None, *, sort: bool = True) -> StagedRows:
        """Write the rows to scratch files; nothing may be added afterwards.

        Parameters
        ----------
        stem
            What the paths of the scratch files begin with; its folder is made if need be.
        labels
            The label of each provisional number; None if labels are final.
        sort
            Whether rows get the canonical order or keep that of `add`.

        Raises
        ------
        StorageError
            If the scratch files do not fit on the disk.
        """
        staged = StagedRows(stem, len(self))
        self._text += bytes(WORD_BYTES)  # so that eight bytes can be read from the last one on
        text, bounds = np.frombuffer(self._text, np.uint8), np.frombuffer(self._bounds, np.int64)
        final = np.frombuffer(self._labels, np.int32)
        final = final if labels is None else labels[final]
        order = self._canonical_order(text, bounds, final) if sort else np.arange(len(self), dtype=np.int32)
        try:
            stem.parent.mkdir(parents=True, exist_ok=True)
            final[order].tofile(staged.path(LABELS))
            self._write_spans(staged.path(SPANS), order)
            _write_names(staged, text, bounds, order)
        except OSError as error:
            raise explain(error, stem.parent, SCRATCH) from error
        return staged

    def _canonical_order(self, text: npt.NDArray[np.uint8], bounds: npt.NDArray[np.int64], labels: Order) -> Order:
        starts, ends = bounds[:-1], bounds[1:]
        files = starts + np.frombuffer(self._folder_lengths, np.uint16)
        order = _sorted_by_text(text, starts, files, np.arange(len(labels), dtype=np.int32))
        order = order[np.argsort(labels[order], kind="stable")]
        return _sorted_by_text(text, files, ends, order)

    def _write_spans(self, path: Path, order: Order) -> None:
        columns = {"offset": self._offsets, "size": self._sizes, "archive": self._archives}
        with open(path, "wb") as file:
            for rows in _chunks(order):
                places = np.empty(len(rows), SPAN)
                for name, values in columns.items():
                    places[name] = np.frombuffer(values, values.typecode)[rows]
                file.write(places.data)


def _sorted_by_text(
    text: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], order: Order
) -> Order:
    """Sort rows by `text[start:end]`, equal ones as they stood: a stable sort by every eight bytes, the last first."""
    words = np.lib.stride_tricks.as_strided(text.view(), (len(text) - WORD_BYTES + 1, WORD_BYTES), (1, 1))
    longest = int((ends - starts).max(initial=0))
    for at in reversed(range(0, longest, WORD_BYTES)):
        keys = np.empty(len(order), np.uint64)
        for first in range(0, len(order), CHUNK_ROWS):
            rows = order[first : first + CHUNK_ROWS]
            places = np.minimum(starts[rows] + at, len(words) - 1)
            found = words[places].view(">u8")[:, 0].astype(np.uint64)
            beyond = np.clip(WORD_BYTES + at + starts[rows] - ends[rows], 0, WORD_BYTES).astype(np.uint64) * np.uint64(
                8
            )
            keys[first : first + CHUNK_ROWS] = np.where(beyond < 64, found >> beyond << beyond, 0)
        order = order[np.argsort(keys, kind="stable")]
    return order


def _write_names(staged: StagedRows, text: npt.NDArray[np.uint8], bounds: npt.NDArray[np.int64], order: Order) -> None:
    end = 0
    with open(staged.path(NAMES), "wb") as names, open(staged.path(ENDS), "wb") as ends:
        for rows in _chunks(order):
            lengths = bounds[rows + 1] - bounds[rows]
            chunk_ends = np.cumsum(lengths)
            moved = np.repeat(bounds[rows] - (chunk_ends - lengths), lengths)
            names.write(text[moved + np.arange(len(moved))].data)
            ends.write((chunk_ends + end).data)
            end += len(moved)


def _chunks(order: Order) -> Iterator[Order]:
    return (order[first : first + CHUNK_ROWS] for first in range(0, len(order), CHUNK_ROWS))

"""Hugging Face Parquet files, such as data/train-00000-of-00294-….parquet: encoded images and their labels in columns.

Input: a folder of Parquet files with an image column (a struct of bytes and path, or plain bytes) and a whole-number
label column. Class names come from the metadata that Hugging Face's `datasets` writes. Output: a source that reads
rows in their stored order, called "file/row".

Rows of a Parquet row group are decoded one after the other; reading single rows in another order would decode a group
of hundreds for each. So there is no random access. However large the groups, a data page or two are in memory: 100
images in Hugging Face's files, 1024 at most where pyarrow wrote larger groups; `parquet_pages` looks at them first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.places import at
from spectral_prep.places.url import Place
from spectral_prep.printable import shown
from spectral_prep.sources.archive import Archive
from spectral_prep.sources.image_files import EncodedSource, Found, assemble
from spectral_prep.sources.locations import Locations, StagedLocations
from spectral_prep.sources.opening import BEST_RATIO, PLENTY, explained, listed, optional, parsed_json
from spectral_prep.sources.parquet_pages import largest_page, require_room
from spectral_prep.sources.release_files import LargestLabel, checked_names, class_names, listed_names, split_files
from spectral_prep.sources.row_table import RowTable, Span, StagedRows

SUFFIX = ".parquet"
LABELS = ("label", "labels", "fine_label", "cls", "class")
BATCH_ROWS = 16
BATCH_BYTES = 64 << 20
BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class Columns:
    """Where images and labels are: `image` is a path of column names, `names` what the labels mean, if known."""

    image: str
    label: str
    names: tuple[str, ...] | None


def open_parquet(dataset: str, path: Place, staging: Path) -> EncodedSource:
    """Open Parquet files; only labels and row numbers go into the scratch folder.

    Raises
    ------
    InputError
        If there are none, one of a series is missing, the columns are not there, or pyarrow is not installed.
    CorruptSourceError
        If a file is truncated or damaged, or a label out of range.
    """
    splits = split_files(dataset, path, SUFFIX)
    columns = _columns(splits["train"][0])
    gathered = {name: _rows(files, columns) for name, files in splits.items()}
    classes = checked_names(columns.names or class_names(path), (largest for _, largest in gathered.values()))
    return assemble(staging, classes, {name: found for name, (found, _) in gathered.items()})


@dataclass(frozen=True)
class ParquetReader:
    """Reads the rows of one split, in their order."""

    locations: Locations
    cursor: Cursor

    @classmethod
    def over(cls, rows: StagedRows, archives: Sequence[Archive], column: str) -> ParquetReader:
        """Return a reader, after putting the list of files beside the rows."""
        return cls(StagedLocations.over(rows, archives), Cursor(column))

    @property
    def random_access(self) -> bool:
        """False: a row that does not follow costs decoding its row group up to it."""
        return False

    @property
    def needs_scratch(self) -> bool:
        """False: a worker gets where its rows are."""
        return False

    def for_rows(self, ids: npt.NDArray[np.int32]) -> ParquetReader:
        """Return what reads these rows; in this process it goes on where the last read was."""
        return ParquetReader(self.locations.for_rows(ids), self.cursor)

    def read(self, row_id: int, name: str) -> bytes:
        """Return the bytes of one row's image."""
        archive, row, _ = self.locations.of(row_id)
        content = self.cursor.read(archive, row)
        if content is None:
            raise CorruptSourceError("a row holds no image bytes", where=name)
        return content


class Cursor:
    """A place in a row group: `batch` holds the rows from `first` on, the group ends before `end`."""

    def __init__(self, column: str) -> None:
        self._column = column
        self._archive: Archive | None = None
        self._first = self._end = 0
        self._given = self._most = 0  # bytes of the row group's images: a value may be there once and stand for many
        self._batch: list[bytes | None] = []
        self._batches: Iterator[Any] = iter(())

    def __reduce__(self) -> tuple[object, ...]:  # at no place: a worker opens its own files
        return type(self), (self._column,)

    def read(self, archive: Archive, row: int) -> bytes | None:
        """Return the image in a row of a file, None if there is none in it."""
        name = archive.path
        with _understood(name):
            if archive != self._archive or not self._first <= row < self._end:
                self._open(archive, row)
            while row >= self._first + len(self._batch):
                if self._given > self._most:
                    raise CorruptSourceError("more bytes of images than the file has room for", where=name)
                self._first += len(self._batch)
                batch = next(self._batches, None)
                if batch is None:
                    raise CorruptSourceError("fewer rows than the file says", where=name)
                self._batch = _images(batch, self._column)
                self._given += sum(len(image) for image in self._batch if image)
            return self._batch[row - self._first]

    def _open(self, archive: Archive, row: int) -> None:
        archive.check()
        opened = _file(archive.place)
        file = _parquet().ParquetFile(opened, buffer_size=BUFFER_BYTES, pre_buffer=False)  # not the whole group
        group, start = 0, 0
        while row >= (end := start + file.metadata.row_group(group).num_rows):
            group, start = group + 1, end
        largest = largest_page(archive.place, file.metadata, group, self._column)
        rows = max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, largest)))  # each may be a copy of all that is in a page
        self._batches = file.iter_batches(rows, row_groups=[group], columns=[self._column], use_threads=False)
        self._archive, self._first, self._end, self._batch = archive, start, end, []
        self._given, self._most = 0, max(PLENTY, BEST_RATIO * archive.size)


def _images(batch: Any, column: str) -> list[bytes | None]:
    values = batch.column(0)
    images: list[bytes | None] = (values.field("bytes") if "." in column else values).to_pylist()
    return images


def _rows(files: Sequence[Place], columns: Columns) -> tuple[Found, LargestLabel]:
    """Return the rows of a split and the largest label."""
    rows, largest = RowTable(), LargestLabel(0, "")
    archives = [Archive.of(path) for path in files]
    for number, path in enumerate(files):
        for row, label in enumerate(_labels(path, columns.label)):
            if not isinstance(label, int) or not 0 <= label < 1 << 31:
                raise CorruptSourceError(
                    f"row {row} has no label",
                    where=path,
                    expected="0 or more",
                    got=shown(label),
                    run="the same command with only files of labelled images in --source",
                )
            rows.add(path.stem, str(row), label, Span(row, 0, number))
            if label > largest.label:
                largest = LargestLabel(label, f"{path}, row {row}")
    if not len(rows):
        raise CorruptSourceError("no rows in it", where=files[0])
    return Found(rows, lambda staged: ParquetReader.over(staged, archives, columns.image), sort=False), largest


def _labels(path: Place, column: str) -> Iterator[object]:
    with _understood(path):
        file = _parquet().ParquetFile(_file(path))
        if column not in file.schema_arrow.names:
            raise InputError(f"no column {column!r}", where=path, got=listed(file.schema_arrow.names))
        require_room(path, file.metadata)
        for group in range(file.num_row_groups):
            largest_page(path, file.metadata, group, column)
        for batch in file.iter_batches(columns=[column]):
            yield from batch.column(0).to_pylist()


def _columns(path: Place) -> Columns:
    arrow = optional("pyarrow", "parquet")
    Archive.of(path)
    with _understood(path):
        schema = _parquet().ParquetFile(_file(path)).schema_arrow
    types = arrow.types
    images = [f"{f.name}.bytes" for f in schema if types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0]
    images += [f.name for f in schema if types.is_binary(f.type) or types.is_large_binary(f.type)]
    features = _features(schema.metadata or {}, path)
    described = [name for name, feature in features.items() if feature.get("_type") == "ClassLabel"]
    whole = [f.name for f in schema if types.is_integer(f.type)]
    labels = [name for name in LABELS if name in described] + described + [name for name in LABELS if name in whole]
    if len(images) != 1 or not labels:
        raise InputError(
            "no image and label columns that can be told apart",
            where=path,
            expected="one struct column with bytes, and a whole-number column called label",
            got=listed(schema.names),
        )
    names = features.get(labels[0], {}).get("names")
    return Columns(images[0], labels[0], listed_names(names, path) if names else None)


def _features(metadata: dict[bytes, bytes], path: Place) -> dict[str, dict[str, Any]]:
    try:
        features = parsed_json(metadata.get(b"huggingface", b"{}"), path).get("info", {}).get("features", {})
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except AttributeError as error:
        raise CorruptSourceError("damaged Hugging Face metadata", where=path, got=error) from error


def _file(path: Place) -> str | BinaryIO:
    """Return what pyarrow opens: a path, or an object that is read by ranges."""
    return str(path) if isinstance(path, Path) else at(path).stream()


def _parquet() -> Any:
    return optional("pyarrow.parquet", "parquet")


@contextmanager
def _understood(path: Place | str) -> Iterator[None]:
    """Turn what pyarrow raises into an error that names the file."""
    try:
        with explained(path):
            yield
    except optional("pyarrow", "parquet").ArrowException as error:
        raise CorruptSourceError("truncated or damaged Parquet file", where=path, got=error) from error

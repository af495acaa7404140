"""Hugging Face Parquet files, such as data/train-00000-of-00294-….parquet: encoded images and their labels in columns.

Input: a folder of Parquet files with an image column (a struct of bytes and path, or plain bytes) and a label column of
numbers or names; each file is read by its own schema (`parquet_columns`). Class names come from the metadata that
Hugging Face's `datasets` writes, or are the labels themselves. A split to test in which no row has a label is left out.
Output: a source that reads rows in their stored order, called "file/row".

Rows of a Parquet row group are decoded one after the other; reading single rows in another order would decode a group
of hundreds for each. So there is no random access. However large the groups, a data page or two are in memory: 100
images in Hugging Face's files, 1024 at most where pyarrow wrote larger groups; `parquet_pages` looks at them first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import numpy.typing as npt

from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.places import at
from spectral_prep.places.url import Place
from spectral_prep.printable import shown
from spectral_prep.sources.archive import Archive
from spectral_prep.sources.image_files import EncodedSource, Found, assemble
from spectral_prep.sources.interface import Fields
from spectral_prep.sources.labels import Labels, UnusableLabelError
from spectral_prep.sources.locations import Locations, StagedLocations
from spectral_prep.sources.opening import BEST_RATIO, PLENTY, explained, optional
from spectral_prep.sources.parquet_columns import Columns, columns_of, only_paths
from spectral_prep.sources.parquet_pages import largest_page, require_room
from spectral_prep.sources.release_files import class_names, labelled_splits, split_files
from spectral_prep.sources.row_table import RowTable, Span, StagedRows

SUFFIXES = (".parquet",)
ANY = Fields()
BATCH_ROWS = 16
BATCH_BYTES = 64 << 20
BUFFER_BYTES = 1 << 20


def open_parquet(
    dataset: str, path: Place, staging: Path, fields: Fields = ANY, *, to_train: bool = True
) -> EncodedSource:
    """Open Parquet files; only labels and row numbers go into the scratch folder.

    Raises
    ------
    InputError
        If there are none, or none to train on though that is meant; if one of a series is missing, the columns are not
        there, or pyarrow is not installed.
    CorruptSourceError
        If a file is truncated or damaged, or a label out of range.
    """
    files = split_files(dataset, path, SUFFIXES, to_train=to_train)
    columns: dict[Place, Columns] = {}
    labels = Labels()

    def rows(places: list[Place]) -> Found | None:  # of test sets that are not taken no file is opened
        own = {place: _columns(place, fields) for place in places}
        columns.update(own)
        if not labels.begun:
            labels.name_classes(next((each.names for each in own.values() if each.names), None) or class_names(path))
        return _rows(places, own, labels, fields)

    found = labelled_splits(path, files, rows, labels, "0 or more, or a name")
    first, its_columns = next(iter(columns.items()))
    return assemble(staging, labels.classes(), found, chosen=_chosen(first, its_columns, fields))


def _chosen(path: Place, columns: Columns, fields: Fields) -> str:
    """Return what was chosen, for the fingerprint, unless it is what is taken anyway: rows are called the same."""
    if fields == ANY:
        return ""
    try:
        unchosen = _columns(path, ANY)
    except InputError:
        unchosen = None
    return "" if unchosen == columns else f"{columns.image_path}/{columns.label}"


@dataclass(frozen=True)
class ParquetReader:
    """Reads the rows of one split, in their order."""

    random_access: ClassVar[bool] = False  # a row that does not follow costs decoding its row group up to it
    needs_scratch: ClassVar[bool] = False  # a worker gets where its rows are

    locations: Locations
    cursor: Cursor

    @classmethod
    def over(cls, rows: StagedRows, archives: Sequence[Archive], fields: Fields) -> ParquetReader:
        """Return a reader, after putting the list of files beside the rows."""
        return cls(StagedLocations.over(rows, archives), Cursor(fields))

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

    def __init__(self, fields: Fields) -> None:
        self._selection = fields
        self._columns: Columns | None = None
        self._archive: Archive | None = None
        self._first = self._end = 0
        self._given = self._most = 0  # bytes of the row group's images: a value may be there once and stand for many
        self._batch: list[bytes | None] = []
        self._batches: Iterator[Any] = iter(())

    def __reduce__(self) -> tuple[object, ...]:  # at no place: a worker opens its own files
        return type(self), (self._selection,)

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
                if batch is None or self._columns is None:
                    raise CorruptSourceError("fewer rows than the file says", where=name)
                self._batch = self._columns.images(batch)
                self._given += sum(len(image) for image in self._batch if image)
            return self._batch[row - self._first]

    def _open(self, archive: Archive, row: int) -> None:
        archive.check()
        opened = _file(archive.place)
        file = _parquet().ParquetFile(opened, buffer_size=BUFFER_BYTES, pre_buffer=False)  # not the whole group
        group, start = 0, 0
        while row >= (end := start + file.metadata.row_group(group).num_rows):
            group, start = group + 1, end
        self._columns = columns_of(file.schema_arrow, archive.place, self._selection)
        column = self._columns.image_path
        largest = largest_page(archive.place, file.metadata, group, column)
        rows = max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, largest)))  # each may be a copy of all that is in a page
        self._batches = file.iter_batches(rows, row_groups=[group], columns=[column], use_threads=False)
        self._archive, self._first, self._end, self._batch = archive, start, end, []
        self._given, self._most = 0, max(PLENTY, BEST_RATIO * archive.size)


def _rows(files: Sequence[Place], columns: Mapping[Place, Columns], labels: Labels, fields: Fields) -> Found | None:
    """Return the rows of a split, None if none has a label."""
    rows, archives = RowTable(), [Archive.of(path) for path in files]
    unlabelled: tuple[Place, int, object] | None = None
    for number, path in enumerate(files):
        meaning, names = columns[path].meaning, columns[path].names
        for row, value in enumerate(_labels(path, columns[path])):
            label = meaning(value)
            if label is None and (value is None or value == -1):
                unlabelled = unlabelled or (path, row, value)
            elif label is None:
                raise _no_label(path, row, value)
            else:
                rows.add(path.stem, str(row), _number(labels, label, names, (path, row)), Span(row, 0, number))
            if unlabelled and len(rows):
                raise _no_label(*unlabelled)
    if unlabelled:
        return None
    if not len(rows):
        raise CorruptSourceError("no rows in it", where=files[0])
    return Found(rows, lambda staged: ParquetReader.over(staged, archives, fields), sort=False)


def _number(labels: Labels, label: int | str, names: tuple[str, ...] | None, where: tuple[Place, int]) -> int:
    """Return the number of a label; one of a file that names its classes otherwise goes by its name."""
    path, row = where
    place = f"{path}, row {row}"
    try:
        if isinstance(label, int) and names is not None:
            return labels.numbered(label, names, place)
        return labels.number(label, place)
    except UnusableLabelError as error:
        raise CorruptSourceError(
            "a label that cannot be used", where=place, expected="a class of the training files", got=error
        ) from error


def _no_label(path: Place, row: int, value: object) -> CorruptSourceError:
    return CorruptSourceError(
        f"row {row} has no label",
        where=path,
        expected="0 or more, or a name",
        got=shown(value),
        run="the same command with only files of labelled images in --source",
    )


def _labels(path: Place, columns: Columns) -> Iterator[object]:
    with _understood(path):
        file = _parquet().ParquetFile(_file(path))
        require_room(path, file.metadata)
        for group in range(file.num_row_groups):
            largest_page(path, file.metadata, group, columns.label)
        for batch in file.iter_batches(columns=[columns.label]):
            yield from batch.column(0).to_pylist()


def _columns(path: Place, fields: Fields) -> Columns:
    """Return the columns of a file; raise `InputError` if no row of it holds an image, once for all rows."""
    optional("pyarrow", "parquet")
    Archive.of(path)
    with _understood(path):
        file = _parquet().ParquetFile(_file(path))
        columns = columns_of(file.schema_arrow, path, fields)
        if columns.nested and _all_empty(file.metadata, columns.image_path):
            raise only_paths(path, columns.image)
    return columns


def _all_empty(metadata: Any, column: str) -> bool:
    """Whether the statistics of a file say that a column holds nothing but nulls."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(metadata.num_columns)]
    found = [chunk.statistics for chunk in chunks if chunk.path_in_schema == column]
    rows = metadata.num_rows
    return rows > 0 and all(each and each.has_null_count for each in found) and sum(e.null_count for e in found) == rows


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

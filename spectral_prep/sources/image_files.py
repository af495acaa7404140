"""Sets of encoded image files, whatever they come in: what their rows are, and one reader a split.

Input: for each split a table of the rows that were found, and how their bytes are read. Output: an
`EncodedSource`, whose index lies in scratch files; what is sent to a worker holds the places of the rows that it reads.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.printable import shown
from spectral_prep.sources.interface import RowIndex
from spectral_prep.sources.name_list import NAMES_AT_ONCE
from spectral_prep.sources.row_table import ClassNumbers, RowTable, StagedRows

LOG = logging.getLogger(__name__)
MOST_COUNTED = 12


class Reader(Protocol):
    """Reads the rows of one split."""

    @property
    def random_access(self) -> bool:
        """Whether any row costs the same to read next."""
        ...

    @property
    def needs_scratch(self) -> bool:
        """Whether what `for_rows` returns reads scratch files."""
        ...

    def for_rows(self, ids: npt.NDArray[np.int32]) -> Reader:
        """Return what reads these rows wherever it is sent."""
        ...

    def read(self, row_id: int, name: str) -> bytes:
        """Return the encoded image of one row."""
        ...


@runtime_checkable
class ManyReader(Protocol):
    """Reads the rows of one split from a bucket."""

    def read_many(self, rows: Sequence[tuple[int, str]]) -> list[bytes | CorruptSourceError]:
        """Return the encoded image of each row (row id, name), or why it is a bad one, with few requests."""
        ...


@dataclass(frozen=True)
class Found:
    """The rows of a split, and what makes their reader once they are staged."""

    rows: RowTable
    reader: Callable[[StagedRows], Reader]
    sort: bool = True


@dataclass(frozen=True)
class SplitRows:
    """One split of an `EncodedSource`."""

    name: str
    rows: StagedRows
    reader: Reader


@dataclass(frozen=True)
class SplitImages:
    """Reads rows of one split, whose name it knows already."""

    reader: Reader

    def read(self, split: str, row_id: int, name: str) -> bytes:
        """Return the bytes of one row's file; raises as `EncodedSource.read` does."""
        content = self.reader.read(row_id, name)
        if not content:
            raise CorruptSourceError("an image file is empty", where=name)
        return content

    def read_many(self, rows: Sequence[tuple[int, str]]) -> list[bytes | CorruptSourceError]:
        """Return what `read` returns for each row (row id, name), or why it is a bad image; of a `ManyReader` only."""
        if not isinstance(self.reader, ManyReader):
            raise TypeError("these rows are read one by one")
        return [
            content or CorruptSourceError("an image file is empty", where=name)
            for content, (_, name) in zip(self.reader.read_many(rows), rows, strict=True)
        ]


@dataclass(frozen=True)
class EncodedSource:
    """A `Source` over encoded image files; rows are called "class/file".

    The fingerprint covers the names of the rows and their classes but not the images: a damaged one may then be
    replaced by a good one and the conversion resumed.
    """

    classes: tuple[str, ...]
    fingerprint: str
    release: str | None
    splits: tuple[SplitRows, ...]

    @property
    def image_shape(self) -> None:
        """None: the images may differ in size."""
        return

    @property
    def random_access(self) -> bool:
        """Whether every split can be read in any order."""
        return all(split.reader.random_access for split in self.splits)

    @property
    def needs_scratch(self) -> bool:
        """Whether any split is read through scratch files."""
        return any(split.reader.needs_scratch for split in self.splits)

    def index(self) -> Mapping[str, RowIndex]:
        """Return the rows of each split, read back from the scratch files."""
        return {split.name: split.rows.index() for split in self.splits}

    def for_rows(self, split: str, ids: npt.NDArray[np.int32]) -> SplitImages:
        """Return what reads these rows; raises `InputError` if there is no such split."""
        return SplitImages(self.reader(split).for_rows(ids))

    def read(self, split: str, row_id: int, name: str) -> bytes:
        """Return the bytes of one row's file.

        Raises
        ------
        InputError
            If there is no such split, or an archive changed under our hands.
        CorruptSourceError
            If the file is empty, gone or may not be read.
        StorageError
            If the disk fails: the row may be good, so it must not be recorded as bad.
        """
        return SplitImages(self.reader(split)).read(split, row_id, name)

    def reader(self, split: str) -> Reader:
        """Return what reads the rows of a split; raise `InputError` if there is no such split."""
        return self._split(split).reader

    def staged(self, split: str) -> StagedRows:
        """Return the rows of a split in their scratch files; raises as `reader` does."""
        return self._split(split).rows

    def _split(self, split: str) -> SplitRows:
        for found in self.splits:
            if found.name == split:
                return found
        raise InputError(f"the source has no split {split}")


def assemble(
    staging: Path,
    known: ClassNumbers | tuple[str, ...],
    found: Mapping[str, Found],
    release: str | None = None,
    chosen: str = "",
) -> EncodedSource:
    """Stage the rows of every split and return the source over them.

    `known` are the class names, if labels are final, or what gave the rows their provisional labels. `chosen` says
    which of several images of a row is meant, where its name does not.

    Raises
    ------
    CorruptSourceError
        If a split that is sorted holds two rows of one name.
    StorageError
        If the scratch files do not fit on the disk.
    """
    classes, labels = (known, None) if isinstance(known, tuple) else known.sorted()
    splits = []
    for name, part in found.items():
        rows = part.rows.stage(staging / name, labels, sort=part.sort)
        splits.append(SplitRows(name, rows, part.reader(rows)))
    source = EncodedSource(classes, _fingerprint(classes, splits, chosen), release, tuple(splits))
    for split in splits:
        LOG.info("%s", counted(split.name, classes, split.rows.labels()))
    return source


def counted(split: str, classes: Sequence[str], labels: npt.NDArray[np.int32]) -> str:
    """Say how many images of each class a split has; of many classes the fewest and the most.

    >>> counted("train", ("cat", "dog"), np.array([0, 1, 1]))
    'train: 3 images of 2 classes (cat 1, dog 2)'
    """
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    of_classes = f"{len(classes):,} class{'es' if len(classes) > 1 else ''}"
    if len(classes) > MOST_COUNTED:
        each = f"{min(counts):,} to {max(counts):,} each"
    else:
        each = ", ".join(f"{shown(name)} {count:,}" for name, count in zip(classes, counts, strict=True))
    return f"{split}: {len(labels):,} image{'s' if len(labels) != 1 else ''} of {of_classes} ({each})"


def _fingerprint(classes: tuple[str, ...], splits: list[SplitRows], chosen: str) -> str:
    content = hashlib.sha256(json.dumps([classes, chosen] if chosen else classes).encode())
    for split in splits:
        index = split.rows.index()
        content.update(json.dumps([split.name, len(index.names)]).encode())
        previous = ""
        for start in range(0, len(index.names), NAMES_AT_ONCE):
            names = index.names[start : start + NAMES_AT_ONCE]
            for name in itertools.compress(names, map(operator.eq, names, itertools.chain([previous], names))):
                raise CorruptSourceError(f"the {split.name} images hold {shown(name)} twice", expected="each name once")
            labels = index.labels[start : start + NAMES_AT_ONCE].tolist()
            content.update("".join([f"{label}\0{name}\n" for label, name in zip(labels, names, strict=True)]).encode())
            previous = names[-1]
    return content.hexdigest()

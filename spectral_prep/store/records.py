"""The records of a converted data set, one dataclass a kind: what stands in its JSON files, each field bounded.

Input and output: see `record_file`, which writes and reads them: `read_record(paths.block(3), BlockRecord)`. The plan,
which decides more than it records, is in `plan_record`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from spectral_prep.encoding import Encoding
from spectral_prep.spectrum import SpectralSpec
from spectral_prep.store.fields import Count, Sha256, Size
from spectral_prep.store.layout import Format
from spectral_prep.system.files import sha256_of


@dataclass(frozen=True)
class FileEntry:
    """One file that a record vouches for; `path` is relative to the record's folder and always uses `/`."""

    path: str
    size: Size
    sha256: Sha256

    @classmethod
    def of(cls, root: Path, path: Path) -> FileEntry:
        """Return the entry of a file that exists, by reading it."""
        return cls(path.relative_to(root).as_posix(), path.stat().st_size, sha256_of(path))

    @classmethod
    def of_bytes(cls, root: Path, path: Path, content: bytes) -> FileEntry:
        """Return the entry of a file that was just written with this content."""
        return cls(path.relative_to(root).as_posix(), len(content), hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class SplitInfo:
    """The extent of one split: rows in all, rows a part file, how many of the rows are bad (label −1), and how many
    views of each image the rows are: rows v·N/views ≤ i < (v+1)·N/views are view v of every image, 0 the image itself.
    """

    rows: Count
    block_rows: Count
    bad_rows: Count = 0
    views: Count = 1

    def parts(self) -> Iterator[tuple[int, slice]]:
        """Yield (index, rows) of each part file.

        >>> [rows.stop for _, rows in SplitInfo(rows=10, block_rows=4).parts()]
        [4, 8, 10]
        """
        for index, start in enumerate(range(0, self.rows, self.block_rows)):
            yield index, slice(start, min(start + self.block_rows, self.rows))


@dataclass(frozen=True)
class BadRow:
    """A row whose image cannot be converted: label −1 and zeros stand in its place in every folder."""

    id: Count
    name: str
    reason: str


@dataclass(frozen=True)
class BlockRecord:
    """`blocks/00003.json`: what one finished block vouches for.

    `sum` and `sum_of_squares` (Q, C) are over the stored values of its good rows, exact for int8; `count` is how many
    values each such sum has. `saturated` (Q,) counts stored values beyond the calibrated range.
    """

    KIND: ClassVar[str] = "block"

    number: Count
    split: str
    start: Count
    stop: Count
    files: tuple[FileEntry, ...]
    bad: tuple[BadRow, ...]
    count: Size
    sum: tuple[tuple[float, ...], ...]
    sum_of_squares: tuple[tuple[float, ...], ...]
    saturated: tuple[Size, ...]


@dataclass(frozen=True)
class SpectralRecord:
    """`spectral.json`: all that a training node needs to know about the one spectral folder it mounts.

    `mean` and `std` (C,) describe the training rows of this spectral in grey levels; `energy` (Q,) is the variance of
    every spectral of the data set, so that each node computes the same grouping from what it holds; `saturated` counts
    stored values beyond the calibrated range.
    """

    KIND: ClassVar[str] = "spectral"

    dataset_id: str
    dataset: str
    k: Count
    spec: SpectralSpec
    encoding: Encoding
    store: Format
    height: Count
    width: Count
    channels: Count
    resize: Count | None
    classes: tuple[str, ...]
    splits: Mapping[str, SplitInfo]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    energy: tuple[float, ...]
    saturated: Size
    files: tuple[FileEntry, ...]


@dataclass(frozen=True)
class Manifest:
    """`manifest.json`: written last; its presence means complete. It lists every file but itself, and every bad row."""

    KIND: ClassVar[str] = "manifest"

    dataset_id: str
    bad_rows: tuple[BadRow, ...]
    files: tuple[FileEntry, ...]

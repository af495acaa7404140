"""The records of a converted data set, one dataclass a kind: what stands in its JSON files, each field bounded.

Input and output: see `record_file`, which writes and reads them: `read_record(paths.block(3), BlockRecord)`. The plan,
which decides more than it records, is in `plan_record`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from spectral_prep.choices import Format
from spectral_prep.encoding import Encoding
from spectral_prep.grid import SpectralSpec
from spectral_prep.places import at, sha256_of
from spectral_prep.places.url import Place, below
from spectral_prep.printable import one_line, shown
from spectral_prep.store.fields import (
    MOST_BLOCKS,
    Count,
    Id,
    Name,
    Positive,
    RelativePath,
    Sha256,
    Size,
    Split,
    require,
)
from spectral_prep.store.record_file import LEFT_OUT


@dataclass(frozen=True)
class FileEntry:
    """One file that a record vouches for; `path` is relative to the record's folder and always uses `/`."""

    path: RelativePath
    size: Size
    sha256: Sha256

    @classmethod
    def of(cls, root: Place, path: Place) -> FileEntry:
        """Return the entry of a file that exists, by reading it."""
        return cls(below(root, path), at(path).size() or 0, sha256_of(path))

    @classmethod
    def of_bytes(cls, root: Place, path: Place, content: bytes) -> FileEntry:
        """Return the entry of a file that was just written with this content."""
        return cls(below(root, path), len(content), hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class SplitInfo:
    """The extent of one split: rows in all, rows a part file, how many of the rows are bad (label −1), and how many
    views of each image the rows are: rows v·N/views ≤ i < (v+1)·N/views are view v of every image, 0 the image itself.
    """

    rows: Count
    block_rows: Positive
    bad_rows: Count = 0
    views: Positive = 1

    def __post_init__(self) -> None:
        require(self.bad_rows <= self.rows, "more bad rows than rows", self.rows, self.bad_rows)
        require(self.rows % self.views == 0, "rows that are not all views", f"a multiple of {self.views}", self.rows)
        blocks = -(-self.rows // self.block_rows)
        require(blocks <= MOST_BLOCKS, "too many blocks", f"at most {MOST_BLOCKS}", blocks)

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


def bad_row_text(row: BadRow) -> str:
    r"""Return in one line, for a reader, which image is bad and why.

    >>> bad_row_text(BadRow(7, "cat/a\n.png", "truncated or damaged image"))
    'cat/a\\x0a.png: truncated or damaged image'
    """
    return f"{shown(row.name)}: {one_line(row.reason)}"


@dataclass(frozen=True)
class BlockRecord:
    """`blocks/00003.json`: what one finished block vouches for.

    `sum` and `sum_of_squares` (Q, C) are over the stored values of its good rows, exact for int8; `count` is how many
    values each such sum has. `saturated` (Q,) counts stored values beyond the calibrated range.
    """

    KIND: ClassVar[str] = "block"

    number: Count
    split: Split
    start: Count
    stop: Count
    files: tuple[FileEntry, ...]
    bad: tuple[BadRow, ...]
    count: Size
    sum: tuple[tuple[float, ...], ...]
    sum_of_squares: tuple[tuple[float, ...], ...]
    saturated: tuple[Size, ...]

    def __post_init__(self) -> None:
        require(self.start < self.stop, "a block without rows", f"more than {self.start}", self.stop)
        rows = self.stop - self.start
        require(len(self.bad) <= rows, "more bad rows than rows", rows, len(self.bad))
        lengths = {len(self.sum), len(self.sum_of_squares), len(self.saturated)}
        require(len(lengths) == 1, "statistics of different numbers of spectrals", "one number", sorted(lengths))
        channels = {len(row) for table in (self.sum, self.sum_of_squares) for row in table}
        require(len(channels) == 1, "statistics of different numbers of channels", "one number", sorted(channels))


@dataclass(frozen=True)
class SpectralRecord:
    """`spectral.json`: all that a training node needs to know about the one spectral folder it mounts.

    `mean` and `std` (C,) describe the training rows of this spectral in grey levels; `energy` (Q,) is the variance of
    every spectral of the data set, so that each node computes the same grouping from what it holds; `saturated` counts
    stored values beyond the calibrated range. `max_pixels` is how many an image file may promise, None for the usual
    limit.
    """

    KIND: ClassVar[str] = "spectral"

    dataset_id: Id
    dataset: Name
    k: Count
    spec: SpectralSpec
    encoding: Encoding
    store: Format
    height: Positive
    width: Positive
    channels: Positive
    resize: Positive | None
    classes: tuple[str, ...]
    splits: Mapping[Split, SplitInfo]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    energy: tuple[float, ...]
    saturated: Size
    files: tuple[FileEntry, ...]
    max_pixels: Positive | None = field(default=None, metadata=LEFT_OUT)

    def __post_init__(self) -> None:
        q = self.spec.q
        self.spec.spectral_size(self.height, self.width)
        require(self.k < q, "a spectral that does not exist", f"less than {q}", self.k)
        require(len(self.energy) == q, "energies of another number of spectrals", q, len(self.energy))
        scalars = len(self.encoding.scale_factor)
        require(self.encoding.fits(q), "an encoding of another number of spectrals", q, scalars)
        for name in ("mean", "std"):
            found = len(getattr(self, name))
            require(found == self.channels, f"{name} of another number of channels", self.channels, found)
        require("train" in self.splits, "no training rows", "a split train", list(self.splits))
        require(len(self.classes) > 0, "no classes", "at least one", 0)
        require_distinct(self.files)


@dataclass(frozen=True)
class Manifest:
    """`manifest.json`: written last; its presence means complete. It lists every file but itself, and every bad row."""

    KIND: ClassVar[str] = "manifest"

    dataset_id: Id
    bad_rows: tuple[BadRow, ...]
    files: tuple[FileEntry, ...]

    def __post_init__(self) -> None:
        require_distinct(self.files)


def require_distinct(files: Sequence[FileEntry]) -> None:
    """Raise `InputError` if a record lists a file twice."""
    twice = [path for path, count in Counter(entry.path for entry in files).items() if count > 1]
    require(not twice, "a file that is listed twice", "each file once", twice[:1])

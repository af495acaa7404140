"""What a source of images is.

Input: a path in some release's layout. Output: for each split an index of rows in canonical order, and the raw
image of any row by its id. A source is picklable and holds no index; workers, which may be on other machines, do not
get it but what reads the rows of one block, and the names of these rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

SPLITS = ("train", "test")
"""What the rows of a data set are divided into, in order; only the first is always there."""

RawImage = bytes | npt.NDArray[np.uint8]
"""An encoded image file, or pixels (H, W, C)."""


@dataclass(frozen=True)
class RowIndex:
    """The rows of one split in canonical order: the row with id i is called names[i] and has class labels[i]."""

    names: Sequence[str]
    labels: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Fields:
    """Which image and which label of a row, where a source has several.

    Parameters
    ----------
    image_key
        Of a sample of WebDataset: what follows the key in the name of its image, such as "left.jpg".
    image_column, label_column
        Of Parquet files.
    """

    image_key: str | None = None
    image_column: str | None = None
    label_column: str | None = None


class Images(Protocol):
    """Reads raw images; picklable, and small."""

    def read(self, split: str, row_id: int, name: str) -> RawImage:
        """Return the raw image of one row; raise `CorruptSourceError` if it cannot be read."""
        ...


class Source(Images, Protocol):
    """A data set before conversion."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; labels index them."""
        ...

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) of what the rows are, the same for every layout of the same release."""
        ...

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """(H, W, C) where all images share one, otherwise None."""
        ...

    @property
    def random_access(self) -> bool:
        """Whether any row costs the same to read next; if not, rows must be read in the order of the index."""
        ...

    @property
    def needs_scratch(self) -> bool:
        """Whether whoever reads rows has to see the scratch files of the process that opened the source."""
        ...

    @property
    def release(self) -> str | None:
        """Which of a data set's releases this is ("winter21"), None where there is but one."""
        ...

    def index(self) -> Mapping[str, RowIndex]:
        """Return the rows of each split (of `SPLITS`) in canonical order; as stored, if not `random_access`."""
        ...

    def for_rows(self, split: str, ids: npt.NDArray[np.int32]) -> Images:
        """Return what reads the rows of a split with these ids, wherever it is sent: it holds where they are."""
        ...

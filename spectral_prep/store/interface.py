"""What every store can do: one Protocol for writing and one for reading, so that nothing else knows a format.

A store is one way that a spectral folder lies on disk: Zarr, WebDataset. All of them cut the rows of a split into the
same parts and hold the same values; `spectral_prep.store.STORES` is the table of their names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from spectral_prep.choices import Compression
from spectral_prep.places.url import Place

BAD_LABEL = -1
"""Of a row whose image cannot be converted: it keeps its place, with zeros in every spectral."""

PIECE_BYTES = 1 << 20
UNREADABLE = (ValueError, RuntimeError, OSError, KeyError)
"""What readers of damaged files raise."""


@dataclass(frozen=True)
class SpectralArray:
    """The `x` of one split of one spectral: its shape, how it is cut, and the scalars that decode it."""

    rows: int
    image_shape: tuple[int, int, int]
    dtype: str
    block_rows: int
    chunk_rows: int
    compression: Compression
    scale_factor: float | None = None
    add_offset: float | None = None


class PartEncoder(Protocol):
    """Makes the content of the Q parts of one block from its rows; made anew for each block."""

    def chunk(self, values_QNChw: npt.NDArray[Any], labels_N: npt.NDArray[Any]) -> Iterator[bytes]:
        """Yield the next bytes of each of the Q parts: `chunk_rows` rows, fewer only in the last chunk of the split."""
        ...

    def end(self) -> Iterator[bytes]:
        """Yield what closes each of the Q parts."""
        ...


class Rows(Protocol):
    """The rows of one split of one spectral folder; any method raises one of `UNREADABLE` for a damaged file."""

    @property
    def piece_rows(self) -> int:
        """How many rows are best read at once, about a MiB; a multiple of it is the best place to begin."""
        ...

    def read(self, start: int, stop: int, into: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Return stored values (n, C, h, w) of rows start ≤ i < stop, all of one part; in such an array if given.

        Who reads piece after piece gives the same array again: new memory each time costs more than the reading.
        """
        ...

    def part_labels(self, start: int, stop: int) -> npt.NDArray[Any] | None:
        """Return the labels (n,) that stand in the part itself beside these rows, or None where a part has none."""
        ...


class Store(Protocol):
    """One way that a spectral folder lies on disk."""

    @property
    def compressions(self) -> tuple[Compression, ...]:
        """What parts may be compressed with; the first is the default."""
        ...

    @property
    def checks_parts(self) -> bool:
        """Whether reading a part notices every flipped byte."""
        ...

    def encoder(self, array: SpectralArray, q: int, start: int) -> PartEncoder:
        """Return what makes the Q parts of the block whose first row is `start`."""
        ...

    def label_files(
        self, labels: Mapping[str, npt.NDArray[Any]], ids: Mapping[str, npt.NDArray[Any]]
    ) -> dict[str, bytes]:
        """Return what holds labels and ids in each spectral folder, the same in all: {path in the folder: content}.

        Parameters
        ----------
        labels, ids
            A mapping from split to its class labels (N,) (−1 for a bad row) and its row ids (N,).
        """
        ...

    def metadata_files(self, arrays: Mapping[str, SpectralArray], attributes: Mapping[str, Any]) -> dict[str, bytes]:
        """Return what else a spectral folder has but parts and `spectral.json`: {path in the folder: content}.

        Parameters
        ----------
        arrays
            A mapping from split to its `x`.
        attributes
            What the data set and the spectral are called, where the format has a place for it.
        """
        ...

    def labels(self, root: Place, split: str, rows: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return the labels and row ids (N,) of a split of a spectral folder; raises one of `UNREADABLE`."""
        ...

    def rows(self, root: Place, split: str, shape_NChw: tuple[int, int, int, int], dtype: str, block_rows: int) -> Rows:
        """Return the rows of a split of a spectral folder; raises one of `UNREADABLE`."""
        ...

"""Some rows of a source, as whoever converts them sees them: their names, and what reads their images.

Input: row ids of the whole source. Output: what looks up, for a row of the selection, the row of the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

from spectral_prep.sources.interface import Images, RawImage

Ids = npt.NDArray[np.int32]


class SomeNames(Sequence[str]):
    """The names of some rows, looked up when they are asked for."""

    def __init__(self, names: Sequence[str], ids: Ids) -> None:
        self._names, self._ids = names, ids

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, row: int) -> str: ...

    @overload
    def __getitem__(self, row: slice) -> list[str]: ...

    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self._names[i] for i in self._ids[row].tolist()]
        return self._names[int(self._ids[row])]

    def __iter__(self) -> Iterator[str]:
        return (self._names[i] for i in self._ids.tolist())


@dataclass(frozen=True)
class SelectedImages:
    """Reads some rows of a selection: those with the ids `ids` (n,), ascending, are `whole` (n,) in `split`."""

    images: Images
    split: str
    ids: Ids
    whole: Ids

    def read(self, split: str, row_id: int, name: str) -> RawImage:
        """Return the raw image of one row; raises as the whole source does."""
        return self.images.read(self.split, self.whole_id(row_id), name)

    def whole_id(self, row_id: int) -> int:
        """Return the id of a row in the whole source."""
        return int(self.whole[np.searchsorted(self.ids, row_id)])

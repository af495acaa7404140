"""Some rows of a source, as whoever converts them sees them: their names, and what reads their images.

Input: row ids of the whole source. Output: what looks up, for a row of the selection, the row of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spectral_prep.sources.interface import Images, RawImage
from spectral_prep.sources.name_list import LazyNames, some

Ids = npt.NDArray[np.int32]


class SomeNames(LazyNames):
    """The names of some rows."""

    def __init__(self, names: Sequence[str], ids: Ids) -> None:
        self._names, self._ids = names, ids

    def __len__(self) -> int:
        return len(self._ids)

    def some(self, rows: npt.NDArray[np.integer]) -> list[str]:
        """Return the names of rows (n,)."""
        return some(self._names, self._ids[rows])


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

"""One row at a time, for `torch.utils.data.DataLoader` and whatever else takes a map-style data set.

Input: a `Shard`. Output: item i, standardised and with its label. It pickles without its rows, and every
worker opens the files itself. `loader.ShardLoader` gives the same rows in batches and is many times faster.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from spectral_train.data.loader import usable
from spectral_train.data.pieces import PieceReader
from spectral_train.data.shard import Shard, check_files, read_labels

FEW_ROWS = 64


class ShardDataset(Dataset[tuple[Tensor, int]]):
    """The good rows of one split of a shard: item i is (x, y), x standardised float32 (G·C, h, w) and y its label.

    Decoded rows are kept up to `memory` bytes: with fewer than the split has, shuffled access decodes a whole chunk a
    row.

    Parameters
    ----------
    shard, split
        From `open_shard`; "train" or "test".
    memory
        Bytes of decoded rows to keep, in each process.

    Raises
    ------
    CorruptFileError
        Naming the file that is missing or damaged; from reading an item also for a damaged chunk.
    IndexError
        From an item that does not exist.
    """

    def __init__(self, shard: Shard, split: str = "train", memory: int = 1 << 28) -> None:
        for folder in shard.folders:
            check_files(folder)
        self.shard = shard
        self._y = read_labels(shard.folders, split).y
        self._positions = np.flatnonzero(usable(self._y)).astype(np.int32)
        self._reader = PieceReader(shard, split, FEW_ROWS)
        self._pieces = self._reader.pieces
        self._starts = np.array([piece.start for piece in self._pieces])
        self._memory = memory
        self._kept: OrderedDict[int, Tensor] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": OrderedDict()}

    def __len__(self) -> int:
        """Return the number of good rows."""
        return len(self._positions)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return one row."""
        position = int(self._positions[index])
        number = int(np.searchsorted(self._starts, position, side="right")) - 1
        row = self._piece(number)[position - self._pieces[number].start]
        return self.shard.standardise(row[None])[0], int(self._y[position])

    def _piece(self, number: int) -> Tensor:
        if number not in self._kept:
            values = self._reader.read(self._pieces[number])
            while self._kept and (len(self._kept) + 1) * values.nbytes > self._memory:
                self._kept.popitem(last=False)
            self._kept[number] = values
        self._kept.move_to_end(number)
        return self._kept[number]

"""The values of a split of a shard: any piece when it is wanted, or all of them.

Input: a `Shard` and the name of a split. Output: the slices that are read at once, and their values. A reader
opens its files on first use, so that it can be pickled and each process opens its own.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from spectral_prep.errors import CorruptFileError
from spectral_prep.places.url import Place
from spectral_prep.store.interface import UNREADABLE, Rows
from spectral_prep.store.read_folder import stored_rows
from spectral_train.data.shard import COPY_AGAIN, NO_ROWS, Shard


class PieceReader:
    """The values of one split of a shard, a piece at a time.

    Parameters
    ----------
    shard, split
        From `open_shard`; "train" or "test".
    most_rows
        Of a piece; about a MiB of whole chunks unless that is less.
    """

    def __init__(self, shard: Shard, split: str, most_rows: int | None = None) -> None:
        self.shard = shard
        self.split = split
        self._most_rows = most_rows
        self._opened: dict[int, Rows] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}}

    @property
    def pieces(self) -> list[slice]:
        """The rows of each piece, in stored order; none reaches across two parts."""
        info = self.shard.first.splits.get(self.split, NO_ROWS)
        if not info.rows:
            return []
        step = self._rows(0).piece_rows
        step = step if self._most_rows is None else min(step, self._most_rows)
        return [
            slice(start, min(start + step, part.stop))
            for _, part in info.parts()
            for start in range(part.start, part.stop, step)
        ]

    @property
    def largest(self) -> int:
        """How many rows the largest piece has."""
        return max((piece.stop - piece.start for piece in self.pieces), default=0)

    def buffer(self, rows: int) -> Tensor:
        """Return memory for so many rows, to be given to `read` again and again."""
        with torch.inference_mode(False):  # a thread that fills it knows nothing of the caller's mode
            return torch.empty((rows, *self.shard.input_shape), dtype=self.shard.encoding.torch_dtype)

    def read(self, rows: slice, into: Tensor | None = None) -> Tensor:
        """Return the values of a piece, (n, G·C, h, w) as stored: the beginning of a buffer, if one is given.

        Raises
        ------
        CorruptFileError
            Naming the part that cannot be read.
        """
        count, channels = rows.stop - rows.start, self.shard.first.channels
        if into is None:
            into = torch.empty((count, *self.shard.input_shape), dtype=self.shard.encoding.torch_dtype)
        for g in range(len(self.shard.folders)):
            self._read_folder(g, rows, into[:count, g * channels : (g + 1) * channels].numpy())
        return into[:count]

    def _read_folder(self, g: int, rows: slice, into_NChw: npt.NDArray[Any]) -> None:
        folder, opened = self.shard.folders[g], self._rows(g)
        try:
            opened.read(rows.start, rows.stop, into_NChw)
        except UNREADABLE as error:
            part = rows.start // folder.record.splits[self.split].block_rows
            raise _unreadable(folder.paths.part(self.split, part, folder.record.store), error) from error

    def _rows(self, g: int) -> Rows:
        if g not in self._opened:
            folder = self.shard.folders[g]
            try:
                self._opened[g] = stored_rows(folder.paths.root, folder.record, self.split)
            except UNREADABLE as error:
                raise _unreadable(folder.paths.root / self.split, error) from error
        return self._opened[g]


def _unreadable(where: Place, error: Exception) -> CorruptFileError:
    return CorruptFileError("a part of the shard cannot be read", where=where, got=error, run=COPY_AGAIN)


def read_values(shard: Shard, split: str, device: torch.device | str = "cpu") -> Tensor:
    """Return the spectrals of a split, (N, G·C, h, w) in the storage dtype; beside the result it needs one piece.

    Call `shard.check_files` on the folders first.

    Raises
    ------
    CorruptFileError
        Naming the part that cannot be read.
    """
    rows = shard.first.splits.get(split, NO_ROWS).rows
    values = torch.empty((rows, *shard.input_shape), dtype=shard.encoding.torch_dtype, device=device)
    reader = PieceReader(shard, split)
    buffer = reader.buffer(reader.largest)
    for piece in reader.pieces:
        values[piece] = reader.read(piece, buffer).to(device)
    return values

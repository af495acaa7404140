"""The Q part files of one block, written chunk by chunk: memory holds one chunk of rows, never the block.

Input: rows of all Q spectrals, in stored order, as many at a time as the caller likes. Output: Q files that appear
together at the end, or none. What the bytes are is the `PartEncoder`'s affair; that they are atomic is the place's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from spectral_prep.places import at
from spectral_prep.places.interface import NewFile
from spectral_prep.places.url import Place, below
from spectral_prep.store.interface import PartEncoder, SpectralArray
from spectral_prep.store.layout import WRITING
from spectral_prep.store.records import FileEntry


class BlockWriter:
    """Writes the Q parts of a block; as a context manager it leaves nothing that was not finished.

    Parameters
    ----------
    root
        The folder that the file entries are relative to.
    paths
        The Q files.
    encoder
        Makes their content.
    array
        What they hold.
    """

    def __init__(self, root: Place, paths: Sequence[Place], encoder: PartEncoder, array: SpectralArray) -> None:
        self._root = root
        self._encoder = encoder
        self._chunk_QNChw = np.empty((len(paths), array.chunk_rows, *array.image_shape), array.dtype)
        self._labels_N = np.empty(array.chunk_rows, np.int32)
        self._rows = 0
        self._files: list[NewFile] = []
        try:
            for path in paths:
                self._files.append(at(path).new(WRITING))
        except BaseException:
            self.abandon()
            raise

    def __enter__(self) -> BlockWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()

    def append(self, values_QNChw: npt.NDArray[Any], labels_N: npt.NDArray[Any]) -> None:
        """Write the next rows of all Q spectrals: (Q, n, C, h, w) in the storage dtype, and their labels (n,)."""
        done = 0
        while done < len(labels_N):
            taken = min(len(labels_N) - done, len(self._labels_N) - self._rows)
            free, given = slice(self._rows, self._rows + taken), slice(done, done + taken)
            self._chunk_QNChw[:, free] = values_QNChw[:, given]
            self._labels_N[free] = labels_N[given]
            self._rows += taken
            done += taken
            if self._rows == len(self._labels_N):
                self._write_chunk()

    def finish(self) -> tuple[FileEntry, ...]:
        """Put the files under their names, and return what a record vouches for."""
        if self._rows:
            self._write_chunk()
        self._write(self._encoder.end())
        at(self._root).finish(self._files)
        return tuple(FileEntry(below(self._root, file.place), file.size, file.sha256) for file in self._files)

    def abandon(self) -> None:
        """Remove what is not finished."""
        for file in self._files:
            file.abandon()

    def _write_chunk(self) -> None:
        self._write(self._encoder.chunk(self._chunk_QNChw[:, : self._rows], self._labels_N[: self._rows]))
        self._rows = 0

    def _write(self, contents: Iterable[bytes]) -> None:
        for file, content in zip(self._files, contents, strict=True):
            file.append(content)

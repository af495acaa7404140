"""Reading one spectral folder through its record, whatever store wrote it.

Input: the folder and its `SpectralRecord`. Output: labels, row ids and stored values, with memory for a piece of
rows. Any of these functions raises one of `interface.UNREADABLE` for a file that is damaged or missing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy.typing as npt

from spectral_prep.errors import CorruptFileError
from spectral_prep.places.url import Place
from spectral_prep.printable import quoted
from spectral_prep.store import STORES
from spectral_prep.store.interface import UNREADABLE, Rows
from spectral_prep.store.layout import SpectralPaths
from spectral_prep.store.records import SpectralRecord


@contextlib.contextmanager
def readable(where: Place) -> Iterator[None]:
    """Turn what readers of a damaged file raise into the paragraph that the user reads."""
    try:
        yield
    except UNREADABLE as error:
        raise CorruptFileError(
            "stored rows cannot be read", where=where, got=error, run=f"spectral-prep verify --deep {quoted(where)}"
        ) from error


def part_names(record: SpectralRecord, split: str) -> Iterator[str]:
    """Yield the path of each part file of a split, relative to the spectral folder."""
    for index, _ in record.splits[split].parts():
        yield str(SpectralPaths(Path()).part(split, index, record.store))


def part_bytes(record: SpectralRecord) -> int:
    """Return the bytes of all parts of a spectral folder."""
    parts = {name for split in record.splits for name in part_names(record, split)}
    return sum(entry.size for entry in record.files if entry.path in parts)


def stored_labels(root: Place, record: SpectralRecord, split: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the labels (N,), −1 for a bad row, and row ids (N,) of a split.

    Raises
    ------
    ValueError
        If there is another number of them than the record says, or a label is of no class.
    """
    labels, ids = STORES[record.store].labels(root, split, record.splits[split].rows)
    if not labels.shape == ids.shape == (record.splits[split].rows,):
        raise ValueError(
            f"{labels.shape} labels and {ids.shape} ids, but the record has {record.splits[split].rows} rows"
        )
    if len(labels) and not -1 <= labels.min() <= labels.max() < len(record.classes):
        raise ValueError(f"labels {labels.min()} to {labels.max()}, but the record has {len(record.classes)} classes")
    return labels, ids


def stored_rows(root: Place, record: SpectralRecord, split: str) -> Rows:
    """Return the rows of a split."""
    info = record.splits[split]
    shape = (info.rows, record.channels, *record.spec.spectral_size(record.height, record.width))
    return STORES[record.store].rows(root, split, shape, record.encoding.dtype, info.block_rows)


def pieces(rows: Rows, part: slice) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
    """Yield (rows, their values (n, C, h, w) as stored) through a part, about a MiB at a time."""
    for start in range(part.start, part.stop, rows.piece_rows):
        stop = min(start + rows.piece_rows, part.stop)
        yield slice(start, stop), rows.read(start, stop)

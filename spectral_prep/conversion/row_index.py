"""The row index on disk: which source image every row came from, one JSON line a row, in canonical order.

Line i of `rows/<split>.jsonl` is `[name, label]` of the row with id i; `id` in every spectral folder points here.
Nothing here holds more than some thousand names at a time: ImageNet-21K has 14 million.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from itertools import islice

import numpy as np
import numpy.typing as npt

from spectral_prep.sources.interface import RowIndex
from spectral_prep.store.layout import DatasetPaths

ROWS_A_PIECE = 1 << 14


def index_pieces(rows: RowIndex) -> Iterator[bytes]:
    r"""Yield the content of the file piece by piece.

    >>> list(index_pieces(RowIndex(["a.png", "ü.png"], np.array([3, 0], np.int32))))
    [b'["a.png", 3]\n["\xc3\xbc.png", 0]\n']
    """
    names = iter(rows.names)
    for start in range(0, len(rows.names), ROWS_A_PIECE):
        labels = rows.labels[start : start + ROWS_A_PIECE].tolist()
        # One call for many names is several times faster; a JSON string holds no bare newline, so they part again.
        written = json.dumps(list(islice(names, ROWS_A_PIECE)), ensure_ascii=False, separators=("\n", ":"))
        pairs = zip(written[1:-1].split("\n"), labels, strict=True)
        yield "".join([f"[{name}, {label}]\n" for name, label in pairs]).encode()


def index_sha256(rows: RowIndex) -> str:
    """Return the sha256 (hex) of the file."""
    digest = hashlib.sha256()
    for piece in index_pieces(rows):
        digest.update(piece)
    return digest.hexdigest()


def read_index(paths: DatasetPaths, split: str) -> Iterator[tuple[str, int]]:
    """Yield (name, label) of each row of a split, by row id."""
    with open(paths.rows(split), encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            name, label = json.loads(line)
            yield name, label


def read_labels(paths: DatasetPaths, split: str) -> npt.NDArray[np.int32]:
    """Return the labels of a split, (N,), by row id."""
    with open(paths.rows(split), "rb") as lines:
        return np.fromiter((int(line[line.rindex(b" ") : -2]) for line in lines), np.int32)

"""The row index comes back as it was written, whatever the names are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from spectral_prep.conversion.row_index import ROWS_A_PIECE, index_pieces, read_index, read_labels
from spectral_prep.sources.interface import RowIndex
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.system.files import atomic_write

NAMES = ['a, "b"], [\n.png', "\\\\", "\\xff.png", "日本 2", "n01440764/n01440764_18.JPEG\r", ""]


def test_names_and_labels_come_back(tmp_path: Path) -> None:
    names = NAMES * (ROWS_A_PIECE // len(NAMES) + 1)
    rows = RowIndex(names, np.arange(len(names), dtype=np.int32))
    paths = DatasetPaths(tmp_path)
    atomic_write(paths.rows("train"), index_pieces(rows))
    assert list(read_index(paths, "train")) == list(zip(names, range(len(names)), strict=True))
    assert read_labels(paths, "train").tolist() == list(range(len(names)))


def test_a_line_is_plain_json() -> None:
    (piece,) = index_pieces(RowIndex(NAMES[3:], np.array([3, 0, 7], np.int32)))
    assert [json.loads(line) for line in piece.split(b"\n")[:-1]] == [[NAMES[3], 3], [NAMES[4], 0], ["", 7]]

"""The row index comes back as it was written, whatever the names are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from spectral_prep.conversion import row_index
from spectral_prep.conversion.row_index import ROWS_A_PIECE, index_pieces, named_row, read_index, read_labels
from spectral_prep.encoding import Encoding
from spectral_prep.errors import CorruptFileError
from spectral_prep.images.load import Geometry
from spectral_prep.sources.interface import RowIndex
from spectral_prep.spectrum import SpectralSpec
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.store.plan_record import Plan, SplitPlan
from spectral_prep.system.files import atomic_write

NAMES = ['a, "b"], [\n.png', "\\\\", "\\xff.png", "日本 2", "n01440764/n01440764_18.JPEG\r", ""]


def plan_of(rows: int, classes: int) -> Plan:
    """Return a plan of so many images and classes."""
    split = SplitPlan(rows, rows, rows, "0" * 64)
    names = tuple(map(str, range(classes)))
    geometry, spec, encoding = Geometry(4, 4, 1, None), SpectralSpec(2, 2), Encoding("float32")
    return Plan("x", "0" * 64, names, geometry, spec, encoding, "zarr", "none", 0, "none", {"train": split})


def test_names_and_labels_come_back(tmp_path: Path) -> None:
    names = NAMES * (ROWS_A_PIECE // len(NAMES) + 1)
    rows = RowIndex(names, np.arange(len(names), dtype=np.int32))
    paths = DatasetPaths(tmp_path)
    atomic_write(paths.rows("train"), index_pieces(rows))
    plan = plan_of(len(names), len(names))
    assert list(read_index(paths, plan, "train")) == list(zip(names, range(len(names)), strict=True))
    assert read_labels(paths, plan, "train").tolist() == list(range(len(names)))
    assert named_row(paths, plan, "train", 2) == (names[2], 2)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_labels_are_read_whole_however_the_file_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    labels = np.array([0, 12, 345, 9, 12], np.int32)
    paths = DatasetPaths(tmp_path)
    atomic_write(paths.rows("train"), index_pieces(RowIndex(["a 1]", "b", "", "ü\n 7", "e"], labels)))
    monkeypatch.setattr(row_index, "PIECE_BYTES", size)
    assert read_labels(paths, plan_of(5, 346), "train").tolist() == labels.tolist()
    with pytest.raises(CorruptFileError, match=r'row 2 of the row index.*Got: b\'\["", 345\]'):
        read_labels(paths, plan_of(5, 345), "train")


def test_a_line_is_plain_json() -> None:
    (piece,) = index_pieces(RowIndex(NAMES[3:], np.array([3, 0, 7], np.int32)))
    assert [json.loads(line) for line in piece.split(b"\n")[:-1]] == [[NAMES[3], 3], [NAMES[4], 0], ["", 7]]


HOSTILE = {
    "a label that is no class": b'["a", 0]\n["b", 2]\n',
    "a negative label": b'["a", 0]\n["b", -1]\n',
    "a label beyond an int64": b'["a", 0]\n["b", 99999999999999999999]\n',
    "a text for a label": b'["a", 0]\n["b", "x"]\n',
    "no label": b'["a", 0]\n["b"]\n',
    "no list": b'["a", 0]\nnull\n',
    "an empty line": b'["a", 0]\n\n',
    "a line too few": b'["a", 0]\n',
    "a line too many": b'["a", 0]\n["b", 1]\n["c", 1]\n',
    "no end": b'["a", 0]\n["b", 1]',
    "a line without an end": b'["a", 0]\n["' + b"b" * (1 << 20) + b'", 1]\n',
    "no JSON": b'["a", 0]\n[b, 1]\n',
    "a number for a name": b'["a", 0]\n[7, 1]\n',
    "nothing": b"",
}
NAMES_ONLY = ("no JSON", "a number for a name")


@pytest.mark.parametrize("content", HOSTILE.values(), ids=list(HOSTILE))
def test_what_is_no_index_of_the_plan_is_refused(tmp_path: Path, content: bytes) -> None:
    paths = DatasetPaths(tmp_path)
    atomic_write(paths.rows("train"), content)
    with pytest.raises(CorruptFileError, match=r"row index.*train\.jsonl"):
        list(read_index(paths, plan_of(2, 2), "train"))
    if content not in [HOSTILE[name] for name in NAMES_ONLY]:  # labels are read without their names
        with pytest.raises(CorruptFileError, match=r"row index.*train\.jsonl"):
            read_labels(paths, plan_of(2, 2), "train")

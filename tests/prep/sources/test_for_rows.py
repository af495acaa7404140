"""What a worker gets of a source reads the rows of its block on a machine where the scratch files are not."""

from __future__ import annotations

import io
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spectral_prep.errors import InputError
from spectral_prep.sources import open_source
from spectral_prep.sources.row_table import SPAN, RowTable, Span
from tests.support.releases import tar_bytes, write_folder

ROWS = 200


def tars(root: Path) -> str:
    for archive in range(4):
        members = {f"n0{archive}_{row}.JPEG": bytes([archive, row]) * 9 for row in range(ROWS // 4)}
        (root / f"n0000000{archive}.tar").write_bytes(tar_bytes(members))
    return "imagenet21k"


def samples(root: Path) -> str:
    for archive in range(4):
        rows = range(archive, ROWS, 4)
        members = {f"{row}{end}": text for row in rows for end, text in ((".jpg", b"%d" % row), (".cls", b"0"))}
        (root / f"train-{archive}.tar").write_bytes(tar_bytes(members))
    return "webdataset"


def parquet(root: Path) -> str:
    pyarrow, tables = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    images = [{"bytes": b"%d" % row, "path": None} for row in range(ROWS)]
    table = pyarrow.table({"image": images, "label": [0] * ROWS})
    content = io.BytesIO()
    tables.write_table(table, content, row_group_size=30)
    (root / "train-00000-of-00001.parquet").write_bytes(content.getvalue())
    return "parquet"


def folder(root: Path) -> str:
    write_folder(root, [f"train/{row % 3}/{row}.png" for row in range(ROWS)])
    return "folder"


@pytest.mark.parametrize("write", [tars, samples, parquet, folder])
def test_the_rows_of_a_block_are_read_without_scratch_files(tmp_path: Path, write: Callable[[Path], str]) -> None:
    (tmp_path / "set").mkdir()
    source = open_source(write(tmp_path / "set"), tmp_path / "set", tmp_path / "scratch")
    assert not source.needs_scratch
    names = source.index()["train"].names
    ids = np.random.RandomState(0).permutation(ROWS)[:20].astype(np.int32)
    ids = np.tile(ids if source.random_access else np.sort(ids), 2)  # as of two views
    expected = [source.read("train", row, names[row]) for row in ids.tolist()]
    sent = pickle.dumps(source.for_rows("train", ids))
    shutil.rmtree(tmp_path / "scratch")
    images = pickle.loads(sent)  # noqa: S301
    assert [images.read("train", row, names[row]) for row in ids.tolist()] == expected
    assert len(sent) < 4000
    if source.random_access and write is not folder:
        with pytest.raises(InputError, match="none of those that came with this task"):
            images.read("train", int(np.setdiff1d(np.arange(ROWS), ids)[0]), "")


@pytest.mark.parametrize("rows", [[], [3], [0, 1, 2], [0, 5, 4999]], ids=str)
def test_spans_are_those_of_single_rows(tmp_path: Path, rows: list[int]) -> None:
    table = RowTable()
    for row in range(5000):
        table.add("x", f"{row:04}", 0, Span(row << 33, row, 7))
    staged = table.stage(tmp_path / "train")
    spans = staged.spans(np.array(rows, np.int32))
    assert spans.dtype == SPAN
    assert [Span(*span.item()) for span in spans] == [staged.span(row) for row in rows]


def test_a_folder_that_a_machine_does_not_see_makes_no_bad_images(tmp_path: Path) -> None:
    write_folder(tmp_path / "set", ["train/a/1.png", "train/b/2.png"])
    source = open_source("folder", tmp_path / "set", tmp_path / "scratch")
    shutil.move(tmp_path / "set", tmp_path / "away")
    with pytest.raises(InputError, match="the folder of the images is gone"):
        source.read("train", 0, "a/1.png")

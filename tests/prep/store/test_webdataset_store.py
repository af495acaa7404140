"""A spectral folder of tars is plain WebDataset: webdataset reads and decodes it without a line of ours."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset

from spectral_prep.choices import Storage
from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.execution import Execution
from spectral_prep.conversion.request import Request
from spectral_prep.errors import InputError
from spectral_prep.inspection.verify import verify
from spectral_prep.store.interface import SpectralArray
from spectral_prep.store.read_folder import stored_rows
from spectral_prep.store.record_file import read_record
from spectral_prep.store.records import FileEntry, SpectralRecord
from spectral_prep.store.webdataset_store import WebDatasetStore
from tests.support.releases import write_folder
from tests.support.shards import write_parts

# webdataset leaves its tars open
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def read(folder: Path, split: str) -> Iterator[dict[str, Any]]:
    """Yield the samples of a split of a spectral folder, read and decoded by plain webdataset."""
    tars = sorted(str(path) for path in folder.glob(f"{split}-*.tar"))
    yield from webdataset.WebDataset(tars, shardshuffle=False).decode()


def by_webdataset(first: int, values: np.ndarray, labels: np.ndarray) -> bytes:
    """Return the tar that webdataset itself writes of these rows."""
    stream = io.BytesIO()
    with webdataset.TarWriter(stream, mtime=0) as writer:
        for place, (x, label) in enumerate(zip(values, labels.tolist(), strict=True), first):
            writer.write({"__key__": f"{place:09d}", "x.npy": x, "cls": label})
    return stream.getvalue()


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32"])
@pytest.mark.parametrize("image_shape", [(1, 1, 1), (3, 8, 16), (3, 2, 5)], ids=str)
@pytest.mark.parametrize("rows", [16, 11, 3], ids=lambda rows: f"{rows} rows")
def test_tars_are_byte_for_byte_what_webdataset_writes(
    tmp_path: Path, rows: int, image_shape: tuple[int, int, int], dtype: Storage
) -> None:
    """(3, 8, 16) int8 fills whole blocks of a tar; the labels are of one to five digits and −1."""
    array = SpectralArray(rows, image_shape, dtype, block_rows=8, chunk_rows=4, compression="none")
    values_QNChw = np.random.default_rng(0).normal(0, 20, (2, rows, *image_shape)).astype(dtype)
    labels = np.resize([7, -1, 12, 999, 21840], rows)
    entries = list(write_parts(tmp_path, "train", array, values_QNChw, labels, "webdataset"))
    for k, values_NChw in enumerate(values_QNChw):
        for index, start in enumerate(range(0, rows, 8)):
            part = slice(start, start + 8)
            written = (tmp_path / f"spectral-0{k}" / f"train-{index:05d}.tar").read_bytes()
            assert written == by_webdataset(start, values_NChw[part], labels[part])
    assert all(entry == FileEntry.of(tmp_path, tmp_path / entry.path) for entry in entries)


@pytest.mark.parametrize("split", ["train", "test"])
def test_plain_webdataset_reads_every_row_of_every_spectral(digit_tars: Path, digits: Path, split: str) -> None:
    """The values, labels and order are those of the Zarr store; the key is the row's place."""
    for k in range(4):
        record = read_record(digits / f"spectral-0{k}" / "spectral.json", SpectralRecord)
        opened = stored_rows(digits / f"spectral-0{k}", record, split)
        parts = [opened.read(part.start, part.stop) for _, part in record.splits[split].parts()]
        expected = np.concatenate(parts)
        samples = list(read(digit_tars / f"spectral-0{k}", split))
        np.testing.assert_array_equal(np.stack([sample["x.npy"] for sample in samples]), expected)
        assert [int(sample["__key__"]) for sample in samples] == list(range(len(expected)))
        labels = np.load(digit_tars / f"spectral-0{k}" / f"{split}-y.npy")
        assert [sample["cls"] for sample in samples] == labels.tolist()
        assert sorted(np.load(digit_tars / f"spectral-0{k}" / f"{split}-id.npy")) == list(range(len(expected)))


def test_rows_read_with_our_reader_are_those_of_the_tars(digit_tars: Path) -> None:
    record = read_record(digit_tars / "spectral-01" / "spectral.json", SpectralRecord)
    rows = stored_rows(digit_tars / "spectral-01", record, "train")
    samples = list(read(digit_tars / "spectral-01", "train"))
    for start, stop in [(0, 300), (299, 300), (300, 301), (1200, 1438)]:
        expected = samples[start:stop]
        found = rows.read(start, stop)
        np.testing.assert_array_equal(found, np.stack([sample["x.npy"] for sample in expected]))
        into = np.zeros((stop - start, 3, *found.shape[2:]), found.dtype)[:, 1:2]
        assert rows.read(start, stop, into) is into
        np.testing.assert_array_equal(into, found)
        labels = rows.part_labels(start, stop)
        assert labels is not None
        assert labels.tolist() == [sample["cls"] for sample in expected]


@pytest.mark.parametrize(
    ("place", "message"),
    [(0, "row 0 is called"), (1024, "row 0 is called"), (1536 + 70, "another shape or dtype"), (-1, "ends at row")],
    ids=["name of cls", "name of x", "npy header", "cut"],
)
def test_members_that_are_not_those_of_the_place_stop_the_reader(tmp_path: Path, place: int, message: str) -> None:
    array = SpectralArray(3, (1, 2, 2), "int8", block_rows=4, chunk_rows=4, compression="none")
    values = np.arange(12, dtype=np.int8).reshape(1, 3, 1, 2, 2)
    list(write_parts(tmp_path, "train", array, values, np.arange(3), "webdataset"))
    part = tmp_path / "spectral-00" / "train-00000.tar"
    content = bytearray(part.read_bytes())
    if place < 0:
        del content[3000:]
    else:
        content[place] ^= 1
    part.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        WebDatasetStore().rows(part.parent, "train", (3, 1, 2, 2), "int8", 4).read(0, 3)


def test_a_bad_image_keeps_its_slot_with_label_minus_one_in_every_tar(tmp_path: Path) -> None:
    write_folder(tmp_path / "set", [f"train/{name}/{i}.png" for name in "ab" for i in range(9)])
    (tmp_path / "set/train/a/notes.jpg").write_text("not an image")
    request = Request("folder", "4", block_rows=4, format="webdataset", dtype="float16")
    out = convert(request, tmp_path / "set", tmp_path / "out", Execution(on_error="skip"))
    for k in range(4):
        samples = list(read(out.spectral(k).root, "train"))
        bad = [sample for sample in samples if sample["cls"] == -1]
        assert len(samples) == 19
        assert len(bad) == 1
        assert not bad[0]["x.npy"].any()
        assert sorted(sample["cls"] for sample in samples) == [-1] + [0] * 9 + [1] * 9
    assert not verify(out.root, deep=True).faults


def test_tars_are_not_compressed() -> None:
    with pytest.raises(InputError, match="--format webdataset does not compress so"):
        Request("digits", "4", format="webdataset", compression="zstd")

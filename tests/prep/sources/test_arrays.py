"""The table of names, the bundled digits, and the scratch files under every set that comes as arrays."""

from __future__ import annotations

import builtins
import multiprocessing
import os
import pickle
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from spectral_prep.errors import CorruptSourceError, InputError, StorageError
from spectral_prep.sources import SOURCES, WITHOUT_FILES, digits, open_source
from spectral_prep.sources.arrays import ArraySource, Batch, ClassNames, stage
from spectral_prep.sources.read_ahead import raw_images
from tests.support.releases import random_images, random_labels

SPLITS = {"one": "train", "two": "train", "three": "test"}
ROWS = {"one": 3, "two": 2, "three": 4}
CLASSES = tuple("0123456789")


def batch(part: str, rows: int, seed: int = 0, shape: tuple[int, int, int] = (4, 5, 3)) -> Batch:
    return Batch(part, random_images(rows, *shape, seed=seed), random_labels(rows, seed=seed), f"{part}.file")


def content() -> list[Batch | ClassNames]:
    return [ClassNames(CLASSES), *(batch(part, rows, seed) for seed, (part, rows) in enumerate(ROWS.items()))]


def read_elsewhere(source: ArraySource, row: int) -> bytes:
    pixels = source.read("train", row, "row")
    assert isinstance(pixels, np.ndarray)
    return pixels.tobytes()


def test_an_unknown_data_set() -> None:
    with pytest.raises(InputError, match=r"unknown data set.*digits, mnist.*imagenet.* Got: 'svhn'") as caught:
        open_source("svhn", Path(), Path())
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("dataset", [name for name in SOURCES if name not in WITHOUT_FILES])
def test_a_missing_path_is_named_for_every_data_set(tmp_path: Path, dataset: str) -> None:
    told = rf"no {dataset} data here.*Where: {tmp_path}/gone.*Run next: the same command"
    with pytest.raises(InputError, match=told):
        open_source(dataset, tmp_path / "gone", tmp_path / "staging")


@pytest.mark.parametrize("file", [digits.FILE, "elsewhere"])
def test_digits_are_split_by_every_fifth_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    monkeypatch.setattr(digits, "FILE", file)
    source = open_source("digits", Path("nowhere"), tmp_path)
    bunch = load_digits()
    index = source.index()
    assert index["test"].labels.tolist() == bunch.target[4::5].tolist()
    assert len(index["train"].labels) == 1797 - 359
    assert source.classes == CLASSES
    pixels = source.read("test", 2, "test#2")
    assert np.array_equal(np.asarray(pixels)[..., 0], np.rint(bunch.images[14] * 255 / 16))
    assert max(np.max(source.read("test", row, "")) for row in range(50)) == 255


def test_rows_are_those_of_the_parts_one_after_the_other(tmp_path: Path) -> None:
    source = stage(SPLITS, 10, content(), tmp_path)
    two = content()[2]
    assert isinstance(two, Batch)
    assert source.index()["train"].names == ["one#0", "one#1", "one#2", "two#0", "two#1"]
    assert np.array_equal(source.read("train", 4, "two#1"), two.images[1])
    rows = [(row, source.index()["train"].names[row]) for row in (4, 0, 3, 0)]
    together = list(raw_images(source, "train", rows))
    assert [np.asarray(each).tolist() for each in together] == [
        np.asarray(source.read("train", row, name)).tolist() for row, name in rows
    ]
    for split, row in (("train", 5), ("train", -1), ("test", 4), ("val", 0)):
        with pytest.raises(InputError, match="no row"):
            source.read(split, row, "")


def test_neither_the_order_of_parts_nor_the_cut_into_batches_matters(tmp_path: Path) -> None:
    whole = stage(SPLITS, 10, content(), tmp_path / "whole")
    pieces: list[Batch | ClassNames] = []
    for item in reversed(content()):
        if isinstance(item, Batch):
            rows = [
                Batch(item.part, item.images[row : row + 1], item.labels[row : row + 1].astype(np.int64), item.where)
                for row in range(len(item.labels))
            ]
            pieces.extend(rows)
        else:
            pieces.append(item)
    other = stage(SPLITS, 10, pieces, tmp_path / "pieces")
    assert other.fingerprint == whole.fingerprint
    assert all(np.array_equal(other.read("test", row, ""), whole.read("test", row, "")) for row in range(ROWS["three"]))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # Python 3.12 warns where there are threads
def test_another_process_reads_the_same(tmp_path: Path) -> None:
    source = stage(SPLITS, 10, content(), tmp_path)
    here = [read_elsewhere(source, row) for row in range(5)]
    for method in ("fork", "forkserver"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            assert pool.starmap(read_elsewhere, [(source, row) for row in range(5)]) == here


def test_a_source_is_small_to_send(tmp_path: Path) -> None:
    small = stage({"one": "train"}, 10, [ClassNames(CLASSES), batch("one", 10)], tmp_path / "small")
    large = stage({"one": "train"}, 10, [ClassNames(CLASSES), batch("one", 5000)], tmp_path / "large")
    assert abs(len(pickle.dumps(large)) - len(pickle.dumps(small))) < 10


def test_leftovers_of_a_killed_run_do_not_matter(tmp_path: Path) -> None:
    expected = stage(SPLITS, 10, content(), tmp_path)
    rows = [read_elsewhere(expected, row) for row in range(5)]
    labels = expected.index()["train"].labels.tolist()

    def killed() -> Iterator[Batch | ClassNames]:
        yield batch("one", 3, seed=9)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage(SPLITS, 10, killed(), tmp_path)
    (tmp_path / "keep.txt").write_text("not ours")
    again = stage(SPLITS, 10, content(), tmp_path)
    assert again == expected
    assert [read_elsewhere(again, row) for row in range(5)] == rows
    assert again.index()["train"].labels.tolist() == labels
    assert len(list(tmp_path.iterdir())) == 2 * len(SPLITS) + 1


def test_restaging_other_content_is_seen_by_a_process_that_read_before(tmp_path: Path) -> None:
    first = stage({"one": "train"}, 10, [ClassNames(CLASSES), batch("one", 3, seed=1)], tmp_path)
    before = read_elsewhere(first, 0)
    second = stage({"one": "train"}, 10, [ClassNames(CLASSES), batch("one", 3, seed=2)], tmp_path)
    assert read_elsewhere(second, 0) == batch("one", 3, seed=2).images[0].tobytes() != before


def test_a_scratch_file_that_is_gone_or_cut(tmp_path: Path) -> None:
    source = stage(SPLITS, 10, content(), tmp_path)
    (scratch,) = tmp_path.glob("one-*.pixels")
    os.truncate(scratch, 100)
    with pytest.raises(StorageError, match=r"cannot read row one#2 back.*Expected: 60 bytes. Got: 0"):
        source.read("train", 2, "one#2")
    scratch.unlink()
    with pytest.raises(StorageError, match=r"cannot read row one#0 back.*No such file"):
        source.read("train", 0, "one#0")
    next(tmp_path.glob("one-*.labels")).write_bytes(b"")
    with pytest.raises(StorageError, match=r"cannot read the labels back.*Got: 0"):
        source.index()


def test_staging_holds_one_batch_at_a_time(tmp_path: Path) -> None:
    def many(count: int) -> Iterator[Batch | ClassNames]:
        yield ClassNames(CLASSES)
        for seed in range(count):
            yield batch("one", 50, seed, shape=(32, 32, 3))

    peaks = []
    for count in (4, 40):
        tracemalloc.start()
        stage({"one": "train"}, 10, many(count), tmp_path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 10_000


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, mode: str) -> object:
        return builtins.open("/dev/full", mode)

    monkeypatch.setattr("spectral_prep.sources.arrays.open", full, raising=False)
    with pytest.raises(StorageError, match=r"the disk is full.*one\.pixels") as caught:
        stage(SPLITS, 10, content(), tmp_path)
    assert caught.value.exit_code == 1
    with pytest.raises(StorageError, match=r"Run next: make room there for 184\.3 MB of scratch files \(.*TMPDIR"):
        stage(SPLITS, 10, content(), tmp_path, bytes_in_all=184_320_000)


def test_an_unwritable_staging_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write here"):
        stage(SPLITS, 10, content(), tmp_path / "file")


def test_class_names_that_never_come(tmp_path: Path) -> None:
    with pytest.raises(CorruptSourceError, match=r"wrong number of class names.*Expected: 10. Got: 0"):
        stage(SPLITS, 10, content()[1:], tmp_path)

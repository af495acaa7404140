"""CIFAR releases: the same rows from every layout, and every damage is named."""

from __future__ import annotations

import builtins
import gzip
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectral_prep.errors import CorruptSourceError, InputError, SpectralError, StorageError
from spectral_prep.sources import open_source
from spectral_prep.sources.cifar import LARGEST_MEMBER
from tests.support.releases import (
    CIFAR_LAYOUTS,
    cifar_files,
    cifar_names,
    cifar_rows,
    planes,
    python2_pickle,
    write_cifar,
    write_tar,
)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
@pytest.mark.parametrize("layout", CIFAR_LAYOUTS)
@pytest.mark.parametrize("named", ["itself", "its folder"])
def test_every_row_comes_back_under_its_name(tmp_path: Path, dataset: str, layout: str, named: str) -> None:
    parts = cifar_rows(dataset)
    written = write_cifar(tmp_path / "data", dataset, layout, parts)
    source = open_source(dataset, written if named == "itself" else written.parent, tmp_path / "staging")
    assert source.image_shape == (32, 32, 3)
    assert source.classes == tuple(cifar_names(dataset))
    index = source.index()
    for split, rows in index.items():
        expected = [(part, row) for part in parts if (split == "test") == part.startswith("test") for row in range(3)]
        assert list(rows.names) == [f"{part}#{row}" for part, row in expected]
        assert rows.labels.tolist() == [parts[part][1][row] for part, row in expected]
        for row_id, (part, row) in enumerate(expected):
            assert np.array_equal(source.read(split, row_id, rows.names[row_id]), parts[part][0][row])


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_the_fingerprint_is_the_same_from_every_layout(tmp_path: Path, dataset: str) -> None:
    parts = cifar_rows(dataset, rows=400)  # more than one binary batch
    paths = [write_cifar(tmp_path / layout, dataset, layout, parts) for layout in CIFAR_LAYOUTS]
    fingerprints = {open_source(dataset, path, tmp_path / "staging").fingerprint for path in paths}
    assert len(fingerprints) == 1
    labels = parts[next(iter(parts))][1]
    labels[0] = (labels[0] + 1) % 10
    changed = write_cifar(tmp_path / "changed", dataset, "binary", parts)
    assert open_source(dataset, changed, tmp_path / "staging").fingerprint not in fingerprints


@pytest.mark.parametrize("layout", CIFAR_LAYOUTS)
def test_a_full_disk_is_told_how_much_is_staged(tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_cifar(tmp_path / "data", "cifar10", layout, cifar_rows("cifar10"))

    def full(path: Path, mode: str) -> object:
        return builtins.open("/dev/full", mode)

    monkeypatch.setattr("spectral_prep.sources.arrays.open", full, raising=False)
    with pytest.raises(StorageError, match=r"the disk is full.*make room there for 184\.3 MB of scratch files"):
        open_source("cifar10", written, tmp_path / "staging")


def test_members_may_come_in_any_order_and_beside_others(tmp_path: Path) -> None:
    parts = cifar_rows()
    files = cifar_files("cifar10", "binary", parts)
    sorted_archive = write_cifar(tmp_path, "cifar10", "binary.tar.gz", parts)
    reversed_archive = write_tar(
        tmp_path / "renamed.tgz", {"readme.html": b"hello", **{name: files[name] for name in reversed(files)}}
    )
    first, second = (
        open_source("cifar10", path, tmp_path / path.name.replace(".", "-")).fingerprint
        for path in (sorted_archive, reversed_archive)
    )
    assert first == second


def test_the_extracted_binary_release_is_preferred(tmp_path: Path) -> None:
    for seed, layout in enumerate(reversed(CIFAR_LAYOUTS)):
        write_cifar(tmp_path, "cifar10", layout, cifar_rows(rows=seed + 1))
    rows = []  # the binary folder has 4 rows a part, the python one 3, the archives 2 and 1
    for taken in ("cifar-10-batches-bin", "cifar-10-batches-py", "cifar-10-binary.tar.gz", "cifar-10-python.tar.gz"):
        rows.append(len(open_source("cifar10", tmp_path, tmp_path / "staging").index()["test"].names))
        (tmp_path / taken).rename(tmp_path / f"{taken}.taken")
    assert rows == [4, 3, 2, 1]


def test_the_pickles_of_python_2(tmp_path: Path) -> None:
    parts = cifar_rows()
    folder = write_cifar(tmp_path / "python", "cifar10", "python", parts)
    expected = open_source("cifar10", folder, tmp_path / "first").fingerprint
    for part, (images, labels) in parts.items():
        batch = {b"data": planes(images), b"labels": labels.tolist(), b"batch_label": part.encode()}
        (folder / part).write_bytes(python2_pickle(batch))
    names = [name.encode() for name in cifar_names("cifar10")]
    (folder / "batches.meta").write_bytes(python2_pickle({b"label_names": names, b"num_vis": 3072}))
    assert open_source("cifar10", folder, tmp_path / "second").fingerprint == expected


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for path in (tmp_path / "data", tmp_path / "gone"):
        with pytest.raises(InputError, match=r"no cifar10 data here.*cifar-10-batches-bin.*--download") as caught:
            open_source("cifar10", path, tmp_path / "staging")
        assert caught.value.exit_code == 2


@pytest.mark.parametrize(("layout", "name"), [("binary", "data_batch_3.bin"), ("python", "batches.meta")])
def test_a_missing_file_is_named(tmp_path: Path, layout: str, name: str) -> None:
    folder = write_cifar(tmp_path, "cifar10", layout, cifar_rows())
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"Got: no {name}"):
        open_source("cifar10", tmp_path, tmp_path / "staging")


def corrupt(path: Path, tmp_path: Path, dataset: str = "cifar10") -> str:
    with pytest.raises(CorruptSourceError) as caught:
        open_source(dataset, path, tmp_path / "staging")
    assert caught.value.exit_code == 1
    return str(caught.value)


@pytest.mark.parametrize("size", [0, 1, 3073 * 2 + 100])
def test_a_truncated_binary_file(tmp_path: Path, size: int) -> None:
    folder = write_cifar(tmp_path, "cifar10", "binary", cifar_rows())
    os.truncate(folder / "data_batch_2.bin", size)
    error = corrupt(folder, tmp_path)
    assert "truncated CIFAR file" in error
    assert "data_batch_2.bin" in error
    assert f"3073-byte records. Got: {size} bytes" in error


def test_label_out_of_range(tmp_path: Path) -> None:
    parts = cifar_rows()
    parts["data_batch_4"][1][1] = 200
    for layout in CIFAR_LAYOUTS:
        error = corrupt(write_cifar(tmp_path / layout, "cifar10", layout, parts), tmp_path)
        assert "label out of range in row 1" in error
        assert "data_batch_4" in error
        assert "Expected: 0 to 9. Got: 200" in error


@pytest.mark.parametrize("labels", [[1, 2], ["1", "2", "3"], [1.0, 2.0, 3.0], None, [2**70, 1, 1]])
def test_labels_that_are_none(tmp_path: Path, labels: object) -> None:
    parts = cifar_rows()
    folder = write_cifar(tmp_path, "cifar10", "python", parts)
    batch = {b"data": planes(parts["test_batch"][0]), b"labels": labels}
    (folder / "test_batch").write_bytes(pickle.dumps(batch, protocol=2))
    error = corrupt(folder, tmp_path)
    assert "label" in error
    assert "test_batch" in error


@pytest.mark.parametrize("data", [None, b"pixels", np.zeros((3, 3071), np.uint8), np.zeros(3072, np.uint8)])
def test_pixels_that_are_none(tmp_path: Path, data: object) -> None:
    folder = write_cifar(tmp_path, "cifar10", "python", cifar_rows())
    (folder / "test_batch").write_bytes(pickle.dumps({b"data": data, b"labels": [1, 2, 3]}, protocol=2))
    assert "no pixels in the pickle" in corrupt(folder, tmp_path)


def test_a_pickle_that_runs_a_command_does_not(tmp_path: Path) -> None:
    folder = write_cifar(tmp_path, "cifar10", "python", cifar_rows())
    command = f"touch {tmp_path}/ran".encode()
    (folder / "data_batch_5").write_bytes(b"cos\nsystem\n(S'" + command + b"'\ntR.")
    error = corrupt(folder, tmp_path)
    assert "refuses to load os.system" in error
    assert "data_batch_5" in error
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("layout", ["binary", "python"])
def test_class_names_must_be_as_many_as_the_classes(tmp_path: Path, layout: str) -> None:
    folder = write_cifar(tmp_path, "cifar10", layout, cifar_rows())
    (folder / "batches.meta.txt").write_text("cat\ndog\n")
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"cat", b"dog"]}, protocol=2))
    error = corrupt(folder, tmp_path)
    assert "wrong number of class names" in error
    assert "Expected: 10. Got: 2" in error


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.6, 0.999])
@pytest.mark.parametrize("layout", ["binary.tar.gz", "python.tar.gz"])
def test_a_truncated_archive(tmp_path: Path, layout: str, share: float) -> None:
    archive = write_cifar(tmp_path, "cifar10", layout, cifar_rows())
    os.truncate(archive, int(archive.stat().st_size * share))
    error = corrupt(archive, tmp_path)
    assert "truncated" in error
    assert str(archive) in error


@pytest.mark.parametrize("to_train", [True, False])
def test_a_part_without_images_is_no_missing_split(tmp_path: Path, to_train: bool) -> None:
    empty = python2_pickle({b"labels": [], b"data": np.zeros((0, 3072), np.uint8)})
    folder = write_cifar(tmp_path, "cifar10", "python", cifar_rows())
    (folder / "test_batch").write_bytes(empty)
    files = {**cifar_files("cifar10", "python", cifar_rows()), "test_batch": empty}
    for written in (folder, write_tar(tmp_path / "cifar-10-python.tar.gz", files)):
        with pytest.raises(CorruptSourceError, match=r"no pixels in the pickle.*test_batch"):
            open_source("cifar10", written, tmp_path / "staging", to_train=to_train)


@pytest.mark.parametrize("layout", ["binary", "python"])
def test_a_folder_of_the_test_set_alone_is_no_source_to_train_on(tmp_path: Path, layout: str) -> None:
    parts = cifar_rows()
    folder = write_cifar(tmp_path, "cifar10", layout, {"test_batch": parts["test_batch"]})
    with pytest.raises(InputError, match=r"Expected: all files of the release\. Got: no data_batch_1.*data_batch_5"):
        open_source("cifar10", folder, tmp_path / "staging")
    source = open_source("cifar10", folder, tmp_path / "staging", to_train=False)
    archive = write_cifar(tmp_path, "cifar10", f"{layout}.tar.gz", {"test_batch": parts["test_batch"]})
    assert [*source.index()] == ["test"]
    assert source.fingerprint == open_source("cifar10", archive, tmp_path / "other", to_train=False).fingerprint


@pytest.mark.parametrize("layout", ["binary.tar.gz", "python.tar.gz"])
def test_an_archive_of_the_test_set_alone_is_no_source_to_train_on(tmp_path: Path, layout: str) -> None:
    parts = cifar_rows()
    archive = write_cifar(tmp_path, "cifar10", layout, {"test_batch": parts["test_batch"]})
    with pytest.raises(
        InputError, match=r"no images to train on.*Expected: .*data_batch_1.*Got: .*test_batch.*whole release"
    ):
        open_source("cifar10", archive, tmp_path / "staging")
    source = open_source("cifar10", archive, tmp_path / "staging", to_train=False)
    assert {split: rows.labels.tolist() for split, rows in source.index().items()} == {
        "test": parts["test_batch"][1].tolist()
    }
    assert np.array_equal(source.read("test", 2, "test_batch#2"), parts["test_batch"][0][2])
    whole = write_cifar(tmp_path / "whole", "cifar10", layout, parts)
    assert [*open_source("cifar10", whole, tmp_path / "other", to_train=False).index()] == ["train", "test"]
    del parts["data_batch_2"]
    part = write_cifar(tmp_path / "part", "cifar10", layout, parts)
    with pytest.raises(CorruptSourceError, match=r"truncated or not this release.*Got: no data_batch_2"):
        open_source("cifar10", part, tmp_path / "third", to_train=False)


@pytest.mark.parametrize("to_train", [True, False])
@pytest.mark.parametrize(("layout", "name"), [("python", "test_batch"), ("binary", "data_batch_1.bin")])
def test_one_file_of_a_release_is_no_source(tmp_path: Path, layout: str, name: str, to_train: bool) -> None:
    folder = write_cifar(tmp_path, "cifar10", layout, cifar_rows())
    with pytest.raises(InputError, match=rf"one file.*Expected: one of cifar-10-batches-bin.*--source {folder}$"):
        open_source("cifar10", folder / name, tmp_path / "staging", to_train=to_train)


def test_a_tar_cut_between_members(tmp_path: Path) -> None:
    files = cifar_files("cifar10", "binary", cifar_rows())
    del files["data_batch_5.bin"], files["test_batch.bin"]
    archive = write_tar(tmp_path / "cifar-10-binary.tar.gz", files)
    error = corrupt(archive, tmp_path)
    assert "truncated or not this release" in error
    assert "Got: no data_batch_5.bin, test_batch.bin" in error


def test_a_tar_cut_inside_a_member(tmp_path: Path) -> None:
    archive = write_cifar(tmp_path, "cifar10", "binary.tar.gz", cifar_rows())
    cut = tmp_path / "cut.tar"
    cut.write_bytes(gzip.decompress(archive.read_bytes())[:20000])
    assert "truncated or damaged tar archive" in corrupt(cut, tmp_path)


def test_an_archive_with_a_wrong_checksum(tmp_path: Path) -> None:
    archive = write_cifar(tmp_path, "cifar10", "binary.tar.gz", cifar_rows())
    content = bytearray(archive.read_bytes())
    content[-6] ^= 1
    archive.write_bytes(content)
    assert "damaged gzip file" in corrupt(archive, tmp_path)


def test_archives_of_something_else(tmp_path: Path) -> None:
    text = tmp_path / "cifar-10-binary.tar.gz"
    text.write_text("<html>404</html>")
    assert "tar archive" in corrupt(text, tmp_path)
    hundred = write_cifar(tmp_path / "100", "cifar100", "binary.tar.gz", cifar_rows("cifar100"))
    assert "not this release" in corrupt(hundred, tmp_path)


def test_a_member_twice_and_one_too_large(tmp_path: Path) -> None:
    files = cifar_files("cifar10", "binary", cifar_rows())
    twice = write_tar(tmp_path / "twice.tar.gz", {**files, "again/test_batch.bin": files["test_batch.bin"]})
    assert "holds test_batch.bin twice" in corrupt(twice, tmp_path)
    header = bytearray(gzip.decompress(write_tar(tmp_path / "large.tar.gz", {"data_batch_1": b""}).read_bytes()))
    header[124:136] = b"%011o\0" % (LARGEST_MEMBER + 1)
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:512]))
    large = tmp_path / "large.tar"
    large.write_bytes(header)
    assert "data_batch_1 is too large" in corrupt(large, tmp_path)


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=700), layout=st.sampled_from(CIFAR_LAYOUTS), zipped=st.booleans())
def test_only_our_errors_escape_from_any_bytes(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, layout: str, zipped: bool
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    if layout.endswith("gz"):
        path = folder / "archive"
        path.write_bytes(gzip.compress(content)[: len(content)] if zipped else content)
    else:
        path = write_cifar(folder, "cifar10", layout, cifar_rows(rows=1))
        (path / ("data_batch_1.bin" if layout == "binary" else "data_batch_1")).write_bytes(content)
    with pytest.raises(SpectralError):
        open_source("cifar10", path, folder / "staging")


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_the_root_that_torchvision_downloaded_into(tmp_path: Path, dataset: str) -> None:
    parts = cifar_rows(dataset)
    archive = write_cifar(tmp_path / "root", dataset, "python.tar.gz", parts)
    extracted = write_cifar(tmp_path / "root", dataset, "python", parts)
    expected = open_source(dataset, archive, tmp_path / "1").fingerprint
    for number, place in enumerate((tmp_path / "root", extracted)):
        assert open_source(dataset, place, tmp_path / f"2{number}").fingerprint == expected

"""IDX releases: what is read is what was written, and every damage is named."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectral_prep.errors import CorruptSourceError, InputError, SpectralError
from spectral_prep.sources import open_source
from spectral_prep.sources.idx import IMAGES_MAGIC, LABELS_MAGIC, read_pairs
from tests.support.releases import idx_bytes, random_images, random_labels, write_idx, write_mnist

REAL = os.environ.get("SPECTRAL_TEST_DATA")


@pytest.mark.parametrize("dataset", ["mnist", "fashion-mnist", "kmnist"])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("separator", ["-", "."])
def test_every_row_comes_back_under_its_name(tmp_path: Path, dataset: str, zipped: bool, separator: str) -> None:
    written = write_mnist(tmp_path / "data", rows=1500, zipped=zipped, separator=separator)  # more than one batch
    source = open_source(dataset, tmp_path / "data", tmp_path / "staging")
    assert source.image_shape == (28, 28, 1)
    assert len(source.classes) == 10
    for split, rows in source.index().items():
        images, labels = written[split]
        assert rows.names == [f"{split}#{row}" for row in range(len(images))]
        assert rows.labels.dtype == np.int32
        assert np.array_equal(rows.labels, labels)
        for row in (0, len(images) // 2, len(images) - 1):
            pixels = source.read(split, row, rows.names[row])
            assert isinstance(pixels, np.ndarray)
            assert np.array_equal(pixels[..., 0], images[row])


def test_gzip_or_not_does_not_change_the_fingerprint_but_a_pixel_does(tmp_path: Path) -> None:
    write_mnist(tmp_path / "gz")
    write_mnist(tmp_path / "plain", zipped=False)
    fingerprints = [
        open_source("mnist", tmp_path / name, tmp_path / f"{name}-staging").fingerprint for name in ("gz", "plain")
    ]
    assert fingerprints[0] == fingerprints[1]
    images, labels = random_images(20, 28, 28), random_labels(20)
    images[7, 3, 3] ^= 1
    write_idx(tmp_path / "gz", images, labels)
    assert open_source("mnist", tmp_path / "gz", tmp_path / "other").fingerprint != fingerprints[0]


@pytest.mark.parametrize(
    ("dataset", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST"), ("kmnist", "KMNIST")]
)
def test_the_root_that_torchvision_downloaded_into(tmp_path: Path, dataset: str, folder: str) -> None:
    raw = tmp_path / "root" / folder / "raw"
    write_mnist(raw)
    write_mnist(raw, zipped=False)
    expected = open_source(dataset, raw, tmp_path / "staging").fingerprint
    for place in (tmp_path / "root", tmp_path / "root" / folder):
        assert open_source(dataset, place, tmp_path / "staging").fingerprint == expected
    other = "kmnist" if dataset == "mnist" else "mnist"
    with pytest.raises(InputError, match=f"no {other} data here"):
        open_source(other, tmp_path / "root", tmp_path / "staging")


def test_the_emnist_of_torchvision(tmp_path: Path) -> None:
    for prefix in ("emnist-digits", "emnist-letters"):
        write_mnist(tmp_path / "root/EMNIST/raw", prefix=prefix)
    with pytest.raises(InputError, match=r"several emnist sets.*--source .*EMNIST/raw/emnist-letters"):
        open_source("emnist", tmp_path / "root", tmp_path / "staging")
    for place in ("root/emnist-letters", "root/EMNIST/raw/emnist-letters"):
        assert open_source("emnist", tmp_path / place, tmp_path / "staging").classes[0] == "unused"


def test_class_names_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    write_mnist(tmp_path / "data")
    mnist, fashion = (open_source(name, tmp_path / "data", tmp_path / name) for name in ("mnist", "fashion-mnist"))
    assert fashion.classes[9] == "Ankle boot"
    assert mnist.fingerprint != fashion.fingerprint


@pytest.mark.parametrize(
    ("prefix", "classes", "last"),
    [
        ("emnist-balanced", 47, "t"),
        ("emnist-byclass", 62, "z"),
        ("emnist-bymerge", 47, "t"),
        ("emnist-letters", 27, "Z"),
        ("emnist-digits", 10, "9"),
        ("emnist-mnist", 10, "9"),
    ],
)
def test_emnist_is_turned_upright_and_named_by_its_variant(
    tmp_path: Path, prefix: str, classes: int, last: str
) -> None:
    images, labels = random_images(4, 28, 28), np.array([1, 2, classes - 1, 3], np.uint8)
    for split in ("train", "test"):
        write_idx(tmp_path, images, labels, split, prefix=prefix)
    source = open_source("emnist", tmp_path, tmp_path / "staging")
    assert (len(source.classes), source.classes[-1]) == (classes, last)
    pixels = source.read("train", 2, "train#2")
    assert isinstance(pixels, np.ndarray)
    assert np.array_equal(pixels[..., 0], images[2].T)


def test_one_of_several_emnist_sets_is_chosen_by_prefix(tmp_path: Path) -> None:
    for prefix, rows in (("emnist-balanced", 3), ("emnist-letters", 5)):
        for split in ("train", "test"):
            write_idx(tmp_path, random_images(rows, 28, 28), random_labels(rows), split, prefix=prefix)
    with pytest.raises(InputError, match=r"several emnist sets.*emnist-balanced, emnist-letters.*--source") as caught:
        open_source("emnist", tmp_path, tmp_path / "staging")
    assert caught.value.exit_code == 2
    source = open_source("emnist", tmp_path / "emnist-letters", tmp_path / "staging")
    assert len(source.index()["train"].names) == 5
    with pytest.raises(InputError, match="no emnist data here"):
        open_source("emnist", tmp_path / "emnist-digits", tmp_path / "staging")


def test_an_unknown_emnist_set_is_refused(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_idx(tmp_path, random_images(2, 28, 28), random_labels(2), split, prefix="emnist-runes")
    with pytest.raises(InputError, match=r"unknown EMNIST set.*emnist-byclass.*Got: emnist-runes"):
        open_source("emnist", tmp_path, tmp_path / "staging")


def test_mnist_does_not_take_emnist_files(tmp_path: Path) -> None:
    write_mnist(tmp_path, prefix="emnist-mnist")
    with pytest.raises(InputError, match="no mnist data here"):
        open_source("mnist", tmp_path, tmp_path / "staging")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(InputError, match=r"no file of test labels.*with --download") as caught:
        open_source("mnist", tmp_path, tmp_path / "staging")
    assert caught.value.exit_code == 2


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"no mnist data here. Where: {tmp_path}/gone.*--download"):
        open_source("mnist", tmp_path / "gone", tmp_path / "staging")


def damage(tmp_path: Path, name: str, content: bytes) -> CorruptSourceError:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorruptSourceError) as caught:
        open_source("mnist", tmp_path, tmp_path / "staging")
    assert caught.value.exit_code == 1
    assert name in str(caught.value)
    return caught.value


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    write_mnist(tmp_path, zipped=False)
    return tmp_path


def test_wrong_magic(plain: Path) -> None:
    swapped = damage(plain, IMAGES, (plain / LABELS).read_bytes() * 10)
    assert "wrong magic number" in str(swapped)
    assert "Expected: 0x00000803" in str(swapped)
    assert "Got: 0x00000801" in str(swapped)


@pytest.mark.parametrize("size", [0, 3, 15, 16, 16 + 20 * 784 - 1])
def test_truncated_file(plain: Path, size: int) -> None:
    error = str(damage(plain, IMAGES, (plain / IMAGES).read_bytes()[:size]))
    assert "truncated IDX file" in error
    assert f"Got: {size} bytes" in error
    if size >= 16:
        assert f"Expected: {16 + 20 * 784} bytes" in error


def test_trailing_bytes(plain: Path) -> None:
    assert "trailing bytes" in str(damage(plain, LABELS, (plain / LABELS).read_bytes() + b"\0"))


def test_images_and_labels_of_different_length(plain: Path) -> None:
    error = str(damage(plain, LABELS, idx_bytes(LABELS_MAGIC, random_labels(19))))
    assert "different length" in error
    assert "Expected: 20 labels" in error
    assert "Got: 19 labels" in error


def test_a_release_without_rows(plain: Path) -> None:
    (plain / LABELS).write_bytes(idx_bytes(LABELS_MAGIC, random_labels(0)))
    (plain / IMAGES).write_bytes(idx_bytes(IMAGES_MAGIC, random_images(0, 28, 28)))
    with pytest.raises(CorruptSourceError, match="train holds no images"):
        open_source("mnist", plain, plain / "staging")


def test_impossible_image_size(plain: Path) -> None:
    header = idx_bytes(IMAGES_MAGIC, random_images(20, 28, 28))[:8] + b"\xff" * 8
    assert "impossible image size" in str(damage(plain, IMAGES, header))


def test_label_out_of_range(plain: Path) -> None:
    labels = random_labels(20)
    labels[13] = 10
    error = str(damage(plain, LABELS, idx_bytes(LABELS_MAGIC, labels)))
    assert "label out of range in row 13" in error
    assert "Expected: 0 to 9" in error
    assert "Got: 10" in error


def test_test_images_of_another_size(plain: Path) -> None:
    write_idx(plain, random_images(10, 32, 32), random_labels(10), "t10k", zipped=False)
    with pytest.raises(CorruptSourceError, match=r"different sizes.*\(28, 28, 1\).*\(32, 32, 1\)"):
        open_source("mnist", plain, plain / "staging")


@pytest.mark.parametrize("keep", [5, 30, -1])
def test_truncated_gzip(tmp_path: Path, keep: int) -> None:
    write_mnist(tmp_path)
    content = (tmp_path / f"{IMAGES}.gz").read_bytes()
    assert "truncated gzip" in str(damage(tmp_path, f"{IMAGES}.gz", content[:keep]))


def test_damaged_gzip(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    content = bytearray((tmp_path / f"{IMAGES}.gz").read_bytes())
    content[-6] ^= 1  # in its checksum: nothing else would tell
    assert "damaged gzip" in str(damage(tmp_path, f"{IMAGES}.gz", bytes(content)))


@settings(max_examples=80, deadline=None)
@given(images=st.binary(max_size=60), labels=st.binary(max_size=30), header=st.booleans(), zipped=st.booleans())
def test_only_our_errors_escape_from_any_bytes(
    tmp_path_factory: pytest.TempPathFactory, images: bytes, labels: bytes, header: bool, zipped: bool
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    for name, magic, content in (("images", IMAGES_MAGIC, images), ("labels", LABELS_MAGIC, labels)):
        started = magic.to_bytes(4, "big") + content if header else content
        (folder / name).write_bytes(gzip.compress(started)[: len(started)] if zipped else started)
    try:
        for pixels, numbers in read_pairs(folder / "images", folder / "labels"):
            assert len(pixels) == len(numbers)
    except SpectralError as error:
        assert str(folder) in str(error)  # noqa: PT017


@pytest.mark.skipif(REAL is None, reason="SPECTRAL_TEST_DATA does not name a folder with the real data sets")
def test_the_real_mnist(tmp_path: Path) -> None:
    index = open_source("mnist", Path(str(REAL)) / "mnist", tmp_path).index()
    assert index["train"].labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(index["test"].labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert len(index["train"].labels) == 60000

"""WebDataset tars: samples found by key, their labels, and every sample that is not whole named."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.request import Request
from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.inspection.verify import verify
from spectral_prep.sources import open_source
from spectral_prep.sources.interface import Fields, Source
from tests.support.releases import encoded, random_images, tar_bytes, write_files

PIXELS = random_images(6, 16, 16, 3)
JPEG, PNG = encoded(PIXELS[0], "JPEG"), encoded(PIXELS[1])
TRAIN0 = {"n02_1.jpg": JPEG, "n02_1.cls": b"1", "n02_1.json": b"{}", "n01_5.jpeg": b"5", "n01_5.cls": b"0\n"}
TRAIN1 = {
    "n01_7.cls": b"0",
    "n01_7.png": PNG,
    "sub/n03_2.JPG": b"2",
    "sub/n03_2.json": json.dumps({"label": 2}).encode(),
}
VAL = {"v0.jpg": b"v0", "v0.cls": b"2"}
FILES = {
    "imagenet1k-train-0001.tar": tar_bytes(TRAIN1),
    "imagenet1k-train-0000.tar": tar_bytes(TRAIN0),
    "imagenet1k-validation-00.tar": tar_bytes(VAL),
}
ZIPPED = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in FILES.items()}


def opened(path: Path) -> Source:
    return open_source("webdataset", path, path / "staging")


def rows(source: Source, split: str) -> list[tuple[str, int, bytes]]:
    found = source.index()[split]
    pairs = enumerate(zip(found.names, found.labels.tolist(), strict=True))
    return [(name, label, bytes(source.read(split, row, name))) for row, (name, label) in pairs]


def test_samples_of_all_tars_by_file_name(tmp_path: Path) -> None:
    source = pickle.loads(pickle.dumps(opened(write_files(tmp_path, FILES))))  # noqa: S301
    assert rows(source, "train") == [
        ("imagenet1k-train-0000/n01_5.jpeg", 0, b"5"),
        ("imagenet1k-train-0001/n01_7.png", 0, PNG),
        ("imagenet1k-train-0000/n02_1.jpg", 1, JPEG),
        ("imagenet1k-train-0001/sub/n03_2.jpg", 2, b"2"),
    ]
    assert rows(source, "test") == [("imagenet1k-validation-00/v0.jpg", 2, b"v0")]
    assert source.classes == ("0", "1", "2")
    assert source.random_access


@pytest.mark.parametrize(
    "described",
    [
        {"classes.txt": b"tench\ngoldfish\n\nshark\n"},
        {"dataset_info.json": b'{"features": {"label": {"names": ["tench", "goldfish", "shark"]}}}'},
    ],
)
def test_class_names_lie_beside_the_tars(tmp_path: Path, described: dict[str, bytes]) -> None:
    assert opened(write_files(tmp_path, {**FILES, **described})).classes == ("tench", "goldfish", "shark")


def test_fewer_class_names_than_labels(tmp_path: Path) -> None:
    with pytest.raises(CorruptSourceError, match=r"label out of range.*0 to 1.*Got: 2"):
        opened(write_files(tmp_path, {**FILES, "classes.txt": b"a\nb\n"}))


def test_an_unrelated_dataset_info_is_no_obstacle(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for content in (b"[]", b'{"features": {}}', b'{"name": "other"}'):
        assert opened(write_files(tmp_path, {**FILES, "dataset_info.json": content})).classes == ("0", "1", "2")
    assert "dataset_info.json names no classes" in caplog.text


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_class_names_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    mark = b"\xff\xfe" if encoding == "utf-16-le" else b""
    content = mark + "tench\r\ncaf\u00e9\r\nshark\r\n".encode(encoding)
    assert opened(write_files(tmp_path, {**FILES, "classes.txt": content})).classes == ("tench", "caf\u00e9", "shark")


def test_labels_that_are_names_of_classes(tmp_path: Path) -> None:
    samples = {"a.jpg": b"x", "a.cls": b"dog\n", "b.jpg": b"x", "b.json": b'{"label": "cat"}'}
    train = {"train-0.tar": tar_bytes(samples)}
    source = opened(write_files(tmp_path / "1", train))
    assert (source.classes, source.index()["train"].labels.tolist()) == (("cat", "dog"), [1, 0])
    source = opened(write_files(tmp_path / "2", {**train, "classes.txt": b"dog\ncat\ncow\n"}))
    assert (source.classes, source.index()["train"].labels.tolist()) == (("dog", "cat", "cow"), [0, 1])
    with pytest.raises(CorruptSourceError, match=r"label 'cat', which is not among"):
        opened(write_files(tmp_path / "3", {**train, "classes.txt": b"dog\n"}))
    with pytest.raises(CorruptSourceError, match=r"label 'cow', which no training row has"):
        opened(write_files(tmp_path / "4", {**train, "val-0.tar": tar_bytes({"a.jpg": b"x", "a.cls": b"cow"})}))


def test_digits_in_a_json_text_are_a_number(tmp_path: Path) -> None:
    samples = {"a.jpg": b"x", "a.json": b'{"label": "2"}', "b.jpg": b"x", "b.json": b'{"label": 0}'}
    assert opened(write_files(tmp_path, {"0.tar": tar_bytes(samples)})).index()["train"].labels.tolist() == [2, 0]


@pytest.mark.parametrize("label", [{"a.json": b'{"label": true}'}, {"a.cls": b"1_0"}, {"a.json": b'{"label": 1.5}'}])
def test_what_is_no_number(tmp_path: Path, label: dict[str, bytes]) -> None:
    with pytest.raises(CorruptSourceError, match=r"1 samples cannot be used.*a \(label"):
        opened(write_files(tmp_path, {"0.tar": tar_bytes({"a.jpg": b"x", **label})}))


def test_one_of_several_images_is_chosen(tmp_path: Path) -> None:
    samples = {"a.left.jpg": b"l", "a.right.jpg": b"r", "a.cls": b"0"}
    write_files(tmp_path, {"0.tar": tar_bytes(samples)})
    with pytest.raises(CorruptSourceError, match="2 images: choose one by --image-key"):
        opened(tmp_path)
    source = open_source("webdataset", tmp_path, tmp_path / "staging", Fields(image_key="right.jpg"))
    assert rows(source, "train") == [("0/a.right.jpg", 0, b"r")]


@pytest.mark.parametrize("ending", [".tar.gz", ".tgz", ".tar"])
def test_compressed_tars_are_read_in_their_order(tmp_path: Path, ending: str) -> None:
    for number, samples in enumerate((TRAIN1, TRAIN0)):
        write_files(tmp_path, {f"train-{number}{ending}": gzip.compress(tar_bytes(samples))})
    write_files(tmp_path, {"train-2.tar": tar_bytes({"z.jpg": b"z", "z.cls": b"1"}), "val-0.tar": tar_bytes(VAL)})
    source = pickle.loads(pickle.dumps(opened(tmp_path)))  # noqa: S301
    assert rows(source, "train") == [
        ("train-0/n01_7.png", 0, PNG),
        ("train-0/sub/n03_2.jpg", 2, b"2"),
        ("train-1/n02_1.jpg", 1, JPEG),
        ("train-1/n01_5.jpeg", 0, b"5"),
        ("train-2/z.jpg", 1, b"z"),
    ]
    assert rows(source, "test") == [("val-0/v0.jpg", 2, b"v0")]
    assert not source.random_access
    own = source.for_rows("train", np.array([3, 4], np.int32))
    assert own.read("train", 3, "") == b"5"


def test_two_tars_of_one_name_are_two(tmp_path: Path) -> None:
    one = tar_bytes({"a.jpg": b"1", "a.cls": b"0"})
    other = tar_bytes({"a.jpg": b"2", "a.cls": b"1"})
    source = opened(write_files(tmp_path / "1", {"part1/00000.tar": one, "part2/00000.tar": other}))
    assert rows(source, "train") == [("part1/00000/a.jpg", 0, b"1"), ("part2/00000/a.jpg", 1, b"2")]
    apart = opened(write_files(tmp_path / "2", {"part1/0.tar": one, "part2/0.tar": tar_bytes(VAL)}))
    assert [name for name, _, _ in rows(apart, "train")] == ["0/a.jpg", "0/v0.jpg"]


def test_no_tar_is_in_two_splits(tmp_path: Path) -> None:
    one = tar_bytes({"a.jpg": b"x", "a.cls": b"0"})
    by_name = opened(
        write_files(tmp_path / "1", {f"birds-train-test/{split}-0.tar": one for split in ("train", "test")})
    )
    assert {split: list(found.names) for split, found in by_name.index().items()} == {
        "train": ["train-0/a.jpg"],
        "test": ["test-0/a.jpg"],
    }
    with pytest.raises(InputError, match=r"named after two splits.*train-test\.tar"):
        opened(write_files(tmp_path / "2", {"train-test.tar": one}))
    near = opened(write_files(tmp_path / "3", {"training/x/0.tar": one, "testing/train-like/test/0.tar": one}))
    assert {split: len(found.names) for split, found in near.index().items()} == {"train": 1, "test": 1}


def test_a_split_without_labels_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bare = {"a.jpg": b"x", "b.jpg": b"x"}
    train = {"train-0.tar": tar_bytes(TRAIN0)}
    source = opened(write_files(tmp_path / "1", {**train, "test-0.tar": tar_bytes(bare)}))
    assert list(source.index()) == ["train"]
    assert "Files of test, which are not converted (no row has a label): test-0.tar" in caplog.text
    with pytest.raises(CorruptSourceError, match=r"1 samples cannot be used.*no label"):
        opened(write_files(tmp_path / "2", {**train, "test-0.tar": tar_bytes({**bare, "b.cls": b"0"})}))
    with pytest.raises(InputError, match="no row to train on has a label"):
        opened(write_files(tmp_path / "3", {"train-0.tar": tar_bytes(bare)}))


def test_what_is_not_taken_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_files(
        tmp_path, {**FILES, "test-0.tar": b"", "README.md": b"", "x/spectral-00/train-0.tar": b"", "x/plan.json": b""}
    )
    assert len(opened(tmp_path).index()["train"].names) == 4
    assert "Files of test, which are not converted (the test images are those of validation): test-0.tar" in caplog.text
    assert "1 file ignored: .md 1" in caplog.text


BROKEN = {
    "a": ({"a.cls": b"0", "a.txt": b"caption"}, r"a \(0 images; it holds cls, txt\)"),
    "b": ({"b.jpg": b"x", "b.png": b"x", "b.cls": b"0"}, r"b \(2 images"),
    "c": ({"c.jpg": b"x"}, r"c \(no label; it holds jpg\)"),
    "d": ({"d.jpg": b"x", "d.cls": b"cat"}, r"d \(label 'cat', others are numbers"),
    "e": ({"e.jpg": b"x", "e.json": b'{"label": -1}'}, r"e \(label -1"),
    "f": ({"f.jpg": b"x", "f.json": b"[]"}, r"f \(label b'\[\]'"),
}


def test_every_sample_that_is_not_whole_is_named(tmp_path: Path) -> None:
    broken = {name: content for files, _ in BROKEN.values() for name, content in files.items()}
    with pytest.raises(CorruptSourceError, match=r"6 samples cannot be used") as caught:
        opened(write_files(tmp_path, {"s.tar": tar_bytes({**TRAIN0, **broken})}))
    for _, message in BROKEN.values():
        caught.match(rf"s\.tar!{message}")


def test_a_key_twice(tmp_path: Path) -> None:
    first, again = {"a.jpg": b"x", "a.cls": b"0"}, {"b.jpg": b"x", "b.cls": b"0"}
    twice = tar_bytes({**first, "a.JPG": b"y"})
    with pytest.raises(CorruptSourceError, match=r"a\.JPG is there twice"):
        opened(write_files(tmp_path / "1", {"s.tar": twice}))
    apart = tar_bytes(first)[:2048] + tar_bytes(again)[:2048] + tar_bytes(first)
    with pytest.raises(CorruptSourceError, match=r"s/a\.jpg twice"):
        opened(write_files(tmp_path / "2", {"s.tar": apart}))


def test_files_that_do_not_say_their_split(tmp_path: Path) -> None:
    one = tar_bytes({"a.jpg": b"x", "a.cls": b"0"})
    assert list(opened(write_files(tmp_path / "1", {"0000.tar": one, "0001.tar": one})).index()) == ["train"]
    by_folder = opened(write_files(tmp_path / "2", {"train/0.tar": one, "val/0.tar": one, "test/0.tar": b"no labels"}))
    assert {split: len(found.names) for split, found in by_folder.index().items()} == {"train": 1, "test": 1}
    with pytest.raises(InputError, match=r"do not say which split.*Got: 0001\.tar"):
        opened(write_files(tmp_path / "3", {"train-0.tar": one, "0001.tar": one}))
    with pytest.raises(InputError, match="no webdataset data here"):
        opened(write_files(tmp_path / "4", {"val-0.tar": one}))
    with pytest.raises(InputError, match="no webdataset data here"):
        opened(tmp_path / "gone")


def test_a_conversion_of_tars_is_verified_against_them(tmp_path: Path) -> None:
    samples: dict[str, bytes] = {}
    for number, pixels in enumerate(PIXELS):
        samples |= {f"{number:03}.png": encoded(pixels), f"{number:03}.cls": str(number % 2).encode()}
    write_files(tmp_path / "data", {"train-0.tar": tar_bytes(samples)})
    out = convert(Request("webdataset", "4", dtype="float16"), tmp_path / "data", tmp_path / "out").root
    found = verify(out, lambda plan: open_source(plan.dataset, tmp_path / "data", tmp_path / "staging"))
    assert found.faults == ()
    assert found.pixels is not None
    assert found.pixels.exact_rows == 6


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot come through a pipe"):
        open_source("webdataset", Path("-"), tmp_path)

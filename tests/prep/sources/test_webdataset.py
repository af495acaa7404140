"""WebDataset tars: samples found by key, their labels, and every sample that is not whole named."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.request import Request
from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.inspection.verify import verify
from spectral_prep.sources import open_source
from spectral_prep.sources.interface import Source
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
    with pytest.raises(CorruptSourceError, match=r"no class names.*features\.label\.names"):
        opened(write_files(tmp_path / "other", {**FILES, "dataset_info.json": b"[]"}))


BROKEN = {
    "a": ({"a.cls": b"0", "a.txt": b"caption"}, r"a \(0 images; it holds cls, txt\)"),
    "b": ({"b.jpg": b"x", "b.png": b"x", "b.cls": b"0"}, r"b \(2 images"),
    "c": ({"c.jpg": b"x"}, r"c \(no label; it holds jpg\)"),
    "d": ({"d.jpg": b"x", "d.cls": b"cat"}, r"d \(label b'cat'"),
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

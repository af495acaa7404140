"""Computed images: the same on every machine, learnable, cheap to index; and what their description may say."""

from __future__ import annotations

import hashlib
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.request import Request
from spectral_prep.conversion.row_index import index_pieces
from spectral_prep.errors import InputError
from spectral_prep.images.decode import decode, image_size
from spectral_prep.sources import open_source
from spectral_prep.sources.interface import RowIndex
from spectral_prep.sources.synthetic import EXAMPLE, VERSION, Description, RowNames, SyntheticSource, computed
from spectral_train.ensemble.evaluate import evaluate
from tests.support.commands import run
from tests.support.runs import make_run

COUNTS = {"train": 100, "test": 50}
IMAGENET_21K = "rows=14200000,test=100,classes=21841,size=224"


def opened(text: str) -> SyntheticSource:
    source = open_source("synthetic", Path(text), Path("no folder"))
    assert isinstance(source, SyntheticSource)
    return source


def pixels(source: SyntheticSource, split: str = "train", rows: int = 4) -> np.ndarray:
    names = source.index()[split].names
    return np.stack([np.asarray(source.read(split, row, names[row])) for row in range(rows)])


# What the images are


@pytest.mark.parametrize(
    ("text", "split", "row_id", "sha256"),
    [
        ("", "train", 0, "31560894ef0d1e9a"),
        ("", "train", 1999, "0c90444f56ea0e2a"),
        ("size=224x224,classes=100", "train", 7, "2ffaf91b232dd8ca"),
        ("size=224x224,classes=100", "test", 7, "4c8fdc37fccb7408"),
        (
            "size=5x70,channels=1,seed=4294967295,classes=1048576,rows=2147483647",
            "train",
            2147483646,
            "e785dd6c59893022",
        ),
        ("size=1", "test", 1, "0151dde8ac807a8c"),
    ],
)
def test_the_same_pixels_everywhere(text: str, split: str, row_id: int, sha256: str) -> None:
    """If these change, `VERSION` has to: a folder that was begun with other images must not be completed with these."""
    content = computed(Description.parse(text), split, row_id).tobytes()
    assert hashlib.sha256(content).hexdigest()[:16] == sha256
    assert VERSION == 1


def test_a_row_depends_on_seed_split_and_id_alone() -> None:
    source = opened("rows=9")
    alone = source.read("train", 7, "")
    assert np.array_equal(alone, pixels(source, rows=8)[7])
    assert np.array_equal(alone, opened("rows=2000,test=0").read("train", 7, "another name"))
    for other in (source.read("test", 7, ""), source.read("train", 8, ""), opened("seed=1").read("train", 7, "")):
        assert not np.array_equal(alone, other)


def test_shapes() -> None:
    for text, shape in (("", (32, 32, 3)), ("size=28,channels=1", (28, 28, 1)), ("size=9X17", (9, 17, 3))):
        source = opened(text)
        assert source.image_shape == shape
        assert pixels(source).shape[1:] == shape
        assert pixels(source).dtype == np.uint8
    with pytest.raises(InputError, match="no row 2000 in split train"):
        opened("").read("train", 2000, "")
    with pytest.raises(InputError, match="no row 0 in split val"):
        opened("").read("val", 0, "")


def test_pixels_use_the_range_without_being_cut_much() -> None:
    values = pixels(opened("size=64,classes=40"), rows=40)
    assert 30 < values.std() < 70
    assert 100 < values.mean() < 155
    assert ((values == 0) | (values == 255)).mean() < 0.02


@pytest.mark.parametrize("channels", [1, 3])
def test_jpegs_of_the_same_images(channels: int) -> None:
    plain = opened(f"size=48x80,channels={channels}")
    packed = opened(f"size=48x80,channels={channels},format=jpeg")
    raw = packed.read("train", 3, "")
    assert isinstance(raw, bytes)
    assert image_size(raw) == (48, 80)
    assert packed.image_shape == (48, 80, channels)
    difference = np.abs(decode(raw, channels).astype(int) - plain.read("train", 3, ""))
    assert difference.mean() < 10  # noise of its own in each colour, at half the resolution
    assert packed.fingerprint != plain.fingerprint


def test_jpegs_cost_as_many_bytes_a_pixel_as_photographs() -> None:
    raw = opened("size=224,format=jpeg,classes=100")
    sizes = [len(raw.read("train", row, "")) for row in range(20)]
    assert 0.3 < np.mean(sizes) / 224**2 < 0.8  # ImageNet's: 0.58


def test_classes_can_be_told_apart() -> None:
    """The nearest mean of a class's training images is the right one."""
    source = opened("rows=100,test=50,classes=10,size=16")
    train, test = (pixels(source, split, rows).reshape(rows, -1).astype(int) for split, rows in COUNTS.items())
    means = np.stack([train[source.index()["train"].labels == label].mean(0) for label in range(10)])
    nearest = np.square(test[:, None] - means).sum(2).argmin(1)
    assert (nearest == source.index()["test"].labels).mean() > 0.9


# What the rows are


def test_rows_and_classes() -> None:
    source = opened("rows=5,test=2,classes=3")
    assert source.classes == ("class-00000", "class-00001", "class-00002")
    index = source.index()
    assert list(index) == ["train", "test"]
    assert list(index["train"].names) == [
        "class-00000/00000000",
        "class-00001/00000001",
        "class-00002/00000002",
        "class-00000/00000003",
        "class-00001/00000004",
    ]
    assert index["train"].labels.tolist() == [0, 1, 2, 0, 1]
    assert index["train"].labels.dtype == np.int32
    assert list(opened("test=0").index()) == ["train"]


def test_names_are_a_sequence() -> None:
    names = RowNames(7, 3)
    assert len(names) == 7
    assert names[-1] == names[6] == "class-00000/00000006"
    assert names[1:6:2] == [names[1], names[3], names[5]]
    assert "class-00002/00000002" in names
    for beyond in (7, -8):
        with pytest.raises(IndexError):
            names[beyond]


def test_a_source_travels_light() -> None:
    source = opened(IMAGENET_21K)
    assert len(source.classes) == 21_841
    packed = pickle.dumps(source)
    assert len(packed) < 1000
    assert pickle.loads(packed) == source  # noqa: S301


def test_fourteen_million_rows_take_the_memory_of_their_labels() -> None:
    """Counted in bytes: a list of names would be above a gigabyte, and seconds would depend on the machine."""
    tracemalloc.start()
    try:
        source = opened(IMAGENET_21K)
        rows = source.index()["train"]
        assert len(source.fingerprint) == 64
        assert len(rows.names) == len(rows.labels) == 14_200_000
        assert rows.names[14_199_999] == f"class-{rows.labels[-1]:05d}/14199999"
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
        some = RowIndex(RowNames(1 << 16, 21_841), rows.labels[: 1 << 16])
        assert sum(map(len, index_pieces(some))) > 1 << 20
        assert next(index_pieces(rows)).startswith(b'["class-00000/00000000", 0]\n')
        assert tracemalloc.get_traced_memory()[1] < 96 << 20
    finally:
        tracemalloc.stop()


def test_the_fingerprint_is_that_of_the_description() -> None:
    texts = ["", "rows=2001", "test=401", "classes=11", "size=32x33", "channels=1", "format=jpeg", "seed=1"]
    assert len({opened(text).fingerprint for text in texts}) == len(texts)
    assert opened(" size = 32 , rows=2000").fingerprint == opened("").fingerprint


# What a description may say


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("colour=3", "describes no images.*NAME=VALUE, of rows, test, classes, size.*Got: colour=3"),
        ("data/imagenet", "describes no images"),
        ("rows", "describes no images"),
        ("rows=5,", "describes no images"),
        ("rows=5,rows=6", "rows is given twice"),
        ("rows=0", "unusable number for rows.*Expected: 1 to 2147483647.*Got: 0"),
        ("rows=-1", "unusable number for rows"),
        ("rows=2147483648", "unusable number for rows"),
        ("rows=" + "9" * 5000, "unusable number for rows"),
        ("rows=1e6", "unusable number for rows"),
        ("rows=٣", "unusable number for rows"),
        ("test=-1", "unusable number for test.*0 to"),
        ("classes=1048577", "unusable number for classes.*1 to 1048576"),
        ("size=0", "unusable size.*H or HxW, each 1 to 4096 pixels.*Got: 0"),
        ("size=4097x1", "unusable size"),
        ("size=2x3x4", "unusable size"),
        ("size=2x", "unusable size"),
        ("channels=2", "unusable channels.*1 or 3"),
        ("format=png", "unusable format.*pixels or jpeg.*Got: png"),
        ("seed=4294967296", "unusable number for seed"),
        ("rows=\x1b[31m", r"unusable number for rows.*Got: \\x1b\[31m"),
    ],
)
def test_what_describes_nothing_is_named(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        opened(text)
    assert "Run next: --source rows=20000" in str(caught.value)
    assert len(str(caught.value)) < 700


def test_the_example_is_one() -> None:
    assert Description.parse(EXAMPLE) == Description(rows=20000, test=2000, classes=100, size=(224, 224))


# The whole road


def test_from_the_command_line_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "rows=90,test=20,classes=3,size=16x24,format="
    convert = f"spectral-prep convert --dataset synthetic --q 2x4 --block-rows 32 --source {text}"
    for command in ("jpeg --workers 1 --out jpeg", "pixels --workers 1 --out pixels", "pixels --workers 2 --out twice"):
        done = run(f"{convert}{command}")
        assert done.code == 0, done.err
    assert Path("pixels/manifest.json").read_bytes() == Path("twice/manifest.json").read_bytes()
    for format in ("pixels", "jpeg"):
        verified = run(f"spectral-prep verify --deep {format} --source {text}{format}")
        assert verified.code == 0, verified.err
        assert "84 images put back together" in verified.out
        assert run(f"spectral-prep show {format} --row 3 --source {text}{format}").code == 0
    other = run("spectral-prep verify pixels --source rows=90,test=20,classes=3,size=16x24,seed=1")
    assert other.code == 2
    assert "not the source that was converted" in other.err
    wrong = run("spectral-prep convert --dataset synthetic --source size=huge --q 4 --out wrong")
    assert wrong.code == 2
    assert "unusable size" in wrong.err
    assert not Path("wrong").exists()


def test_without_a_description(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("spectral-prep convert --dataset synthetic --q 4 --workers 1")
    assert done.code == 0, done.err
    assert "128 images put back together" in run("spectral-prep verify spectral/synthetic-q4").out
    assert run("spectral-prep show spectral/synthetic-q4 --row 0").code == 0
    assert run("spectral-prep plan --dataset synthetic --q 4").code == 0


def test_every_branch_beats_chance(tmp_path: Path) -> None:
    source = Path("rows=400,test=200,classes=4,size=16,channels=1")
    convert(Request("synthetic", "4"), source, tmp_path / "data")
    evaluation = evaluate(make_run(tmp_path / "data", tmp_path / "run"))
    assert min(branch.accuracy for branch in evaluation.branches) > 0.35
    assert evaluation.ensemble["average"] > 0.7

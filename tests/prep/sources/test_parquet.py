"""Hugging Face Parquet: columns told apart, rows in their stored order, bounded memory, every damage named."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.execution import Execution
from spectral_prep.conversion.request import Request
from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.sources import open_source, parquet
from spectral_prep.sources.interface import Fields, Source
from tests.support.releases import encoded, random_images
from tests.support.trees import tree

IMAGES = [encoded(pixels) for pixels in random_images(50, 8, 8, 3)]
LABELS = [number % 3 for number in range(50)]


def write(
    path: Path, images: list[Any] = IMAGES, labels: list[Any] = LABELS, names: Any = None, **columns: Any
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"bytes": image, "path": f"{row}.png"} for row, image in enumerate(images)]
    table = pyarrow.table(
        {
            "image": pyarrow.array(cells, pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])),
            "label": pyarrow.array(labels, pyarrow.int64()),
            **columns,
        }
    )
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pyarrow.parquet.write_table(table, path, row_group_size=7)


def opened(path: Path) -> Source:
    return open_source("parquet", path, path.parent / f"{path.name}-staging")


def release(root: Path) -> Path:
    names = ["tench", "goldfish", "shark"]
    write(root / "data/train-00000-of-00002-9f.parquet", IMAGES[:20], LABELS[:20], names)
    write(root / "data/train-00001-of-00002-3c.parquet", IMAGES[20:44], LABELS[20:44], names)
    write(root / "data/validation-00000-of-00001-77.parquet", IMAGES[44:], LABELS[44:], names)
    write(root / "data/test-00000-of-00001-5b.parquet", IMAGES[:3], [-1] * 3, names)  # as ImageNet's: no labels
    return root


def test_rows_in_their_stored_order(tmp_path: Path) -> None:
    source = pickle.loads(pickle.dumps(opened(release(tmp_path / "set"))))  # noqa: S301
    index = source.index()
    assert source.classes == ("tench", "goldfish", "shark")
    assert not source.random_access
    assert [index[split].labels.tolist() for split in ("train", "test")] == [LABELS[:44], LABELS[44:]]
    assert index["train"].names[20] == "train-00001-of-00002-3c/0"
    assert [source.read("train", row, name) for row, name in enumerate(index["train"].names)] == IMAGES[:44]
    assert [source.read("test", row, name) for row, name in enumerate(index["test"].names)] == IMAGES[44:]


def test_a_block_may_begin_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "BATCH_ROWS", 2)
    source = opened(release(tmp_path / "set"))
    for row in [33, 34, 30, 21, 19, 20, 5, 3, 43, 0]:
        assert source.read("train", row, "any") == IMAGES[row]


def test_converting_by_any_number_of_workers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--shuffle none"):
        convert(Request("parquet", "4"), release(tmp_path / "set"), tmp_path / "refused")
    request = Request("parquet", "4", block_rows=10, shuffle="none")
    outs = [convert(request, tmp_path / "set", tmp_path / f"out{n}", Execution(workers=n)).root for n in (1, 2)]
    assert tree(outs[0]) == tree(outs[1])


def test_one_file_with_plain_bytes_and_no_names(tmp_path: Path) -> None:
    table = pyarrow.table(
        {"img": pyarrow.array(IMAGES[:5], pyarrow.binary()), "fine_label": LABELS[:5], "note": ["x"] * 5}
    )
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    source = opened(tmp_path / "a.parquet")
    assert source.classes == ("0", "1", "2")
    assert source.read("train", 4, "a/4") == IMAGES[4]


@pytest.mark.parametrize(("label", "names", "message"), [(None, None, "row 1 has no label"), (-1, None, "row 1 has no"),
                                                          (7, ["a"], "out of range")])  # fmt: skip
def test_labels_that_cannot_be_used(tmp_path: Path, label: Any, names: Any, message: str) -> None:
    write(tmp_path / "a.parquet", IMAGES[:2], [0, label], names)
    with pytest.raises(CorruptSourceError, match=message):
        opened(tmp_path / "a.parquet")


def test_an_image_without_bytes_is_a_damaged_image(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [IMAGES[0], None], [0, 0])
    with pytest.raises(CorruptSourceError, match=r"no image bytes.*a/1"):
        opened(tmp_path / "a.parquet").read("train", 1, "a/1")


def test_columns_that_cannot_be_told_apart(tmp_path: Path) -> None:
    write(tmp_path / "two.parquet", IMAGES[:1], [0], thumbnail=pyarrow.array([b"x"]))
    with pytest.raises(InputError, match=r"told apart.*thumbnail \(binary\).*--image-column image or thumbnail"):
        opened(tmp_path / "two.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"image": [b"x"], "caption": ["x"]}), tmp_path / "none.parquet")
    with pytest.raises(InputError, match=r"no column of labels.*caption \(string\).*--label-column caption"):
        opened(tmp_path / "none.parquet")


def test_columns_that_are_chosen(tmp_path: Path) -> None:
    other = pyarrow.array([b"x", b"y"])
    write(tmp_path / "a.parquet", IMAGES[:2], [0, 1], thumbnail=other, caption=pyarrow.array(["dog", "cat"]))
    fingerprints = set()
    for fields, image, labels in (
        (Fields(image_column="image"), IMAGES[0], [0, 1]),
        (Fields(image_column="thumbnail"), b"x", [0, 1]),
        (Fields(image_column="thumbnail", label_column="caption"), b"x", [1, 0]),
    ):
        source = open_source("parquet", tmp_path / "a.parquet", tmp_path / "staging", fields)
        assert source.read("train", 0, "a/0") == image
        assert source.index()["train"].labels.tolist() == labels
        fingerprints.add(source.fingerprint)
    assert len(fingerprints) == 3
    with pytest.raises(InputError, match="nothing to choose from"):
        open_source("folder", tmp_path, tmp_path / "staging", Fields(image_column="image"))
    write(tmp_path / "one.parquet", IMAGES[:2], [0, 1])
    plain = opened(tmp_path / "one.parquet").fingerprint
    same = open_source("parquet", tmp_path / "one.parquet", tmp_path / "staging", Fields(image_column="image"))
    assert same.fingerprint == plain  # it is what is taken anyway


def labelled(root: Path, **splits: list[Any]) -> Source:
    for name, labels in splits.items():
        write(root / f"{name}-0.parquet", IMAGES[: len(labels)], labels, ["a", "b"])
    return opened(root)


def test_a_split_without_labels_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = labelled(tmp_path / "1", train=[0, 1], test=[-1, -1])
    assert list(source.index()) == ["train"]
    assert "Files of test, which are not converted (no row has a label): test-0.parquet" in caplog.text
    source = labelled(tmp_path / "2", train=[0, 1], test=[1], validation=[None, None])
    assert source.index()["test"].labels.tolist() == [1]
    assert len(labelled(tmp_path / "3", train=[0, 1], test=[-1, -1], validation=[0]).index()["test"].names) == 1
    with pytest.raises(CorruptSourceError, match="row 1 has no label"):
        labelled(tmp_path / "4", train=[0, 1], test=[0, -1])
    with pytest.raises(InputError, match="no row to train on has a label"):
        labelled(tmp_path / "5", train=[-1, -1])


def test_without_training_files_the_first_labelled_test_set_says_columns_and_names(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write(root / "val-0.parquet", IMAGES[:2], [-1, -1])
    write(root / "valid-0.parquet", IMAGES[2:4], [1, 0], ["cat", "dog"])
    write(root / "test-0.parquet", IMAGES[4:5], [2], depth=pyarrow.array([b""]))  # images in two columns
    source = open_source("parquet", root, tmp_path / "staging", to_train=False)
    assert source.classes == ("cat", "dog")
    assert source.index()["test"].labels.tolist() == [1, 0]
    assert source.read("test", 1, "x") == IMAGES[3]
    with pytest.raises(InputError, match="several columns of images"):
        open_source("parquet", root / "test-0.parquet", tmp_path / "staging", to_train=False)


@pytest.mark.parametrize(
    "kind", [pyarrow.string(), pyarrow.large_string(), pyarrow.dictionary(pyarrow.int8(), pyarrow.string())]
)
def test_labels_that_are_names_become_sorted_classes(tmp_path: Path, kind: Any) -> None:
    for split, names in (("train", ["dog", "cat", "10", "2"]), ("test", ["cat"])):
        table = pyarrow.table({"image": IMAGES[: len(names)], "label": pyarrow.array(names).cast(kind)})
        (tmp_path / "set").mkdir(exist_ok=True)
        pyarrow.parquet.write_table(table, tmp_path / f"set/{split}.parquet")
    source = opened(tmp_path / "set")
    assert source.classes == ("10", "2", "cat", "dog")
    assert [found.labels.tolist() for found in source.index().values()] == [[3, 2, 0, 1], [2]]
    pyarrow.parquet.write_table(pyarrow.table({"image": IMAGES[:1], "label": ["cow"]}), tmp_path / "set/test.parquet")
    with pytest.raises(CorruptSourceError, match=r"row 0.*label 'cow', which no training row has"):
        opened(tmp_path / "set")


def test_class_names_of_each_file_are_matched_by_name(tmp_path: Path) -> None:
    write(tmp_path / "set/train-0.parquet", IMAGES[:3], [0, 1, 2], ["cat", "dog", "fox"])
    write(tmp_path / "set/test-0.parquet", IMAGES[:3], [0, 1, 2], ["dog", "fox", "cat"])
    source = opened(tmp_path / "set")
    assert source.classes == ("cat", "dog", "fox")
    assert source.index()["test"].labels.tolist() == [1, 2, 0]
    write(tmp_path / "set/test-0.parquet", IMAGES[:1], [0], ["cow"])
    with pytest.raises(CorruptSourceError, match=r"test-0\.parquet, row 0.*'cow', which is not among"):
        opened(tmp_path / "set")


def test_each_file_is_read_by_its_own_columns(tmp_path: Path) -> None:
    files = {
        "train-0": {"image": IMAGES[:2], "label": [0, 1]},
        "train-1": {"input.jpg": pyarrow.array(IMAGES[2:4], pyarrow.large_binary()), "labels": [1.0, 0.0]},
        "train-2": {"img": pyarrow.array([{"bytes": IMAGES[4]}]), "label": pyarrow.array([1], pyarrow.uint8())},
    }
    for name, columns in files.items():
        (tmp_path / "set").mkdir(exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / f"set/{name}.parquet")
    source = opened(tmp_path / "set")
    assert source.index()["train"].labels.tolist() == [0, 1, 1, 0, 1]
    assert [source.read("train", row, "x") for row in (4, 0, 3, 2, 1)] == [IMAGES[row] for row in (4, 0, 3, 2, 1)]


@pytest.mark.parametrize("values", [["cat", "dog"], [0.0, 1.0]])
def test_class_labels_that_are_stored_as_texts_or_floats(tmp_path: Path, values: list[Any]) -> None:
    features = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}}}
    table = pyarrow.table({"image": IMAGES[:2], "label": values})
    table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert opened(tmp_path / "a.parquet").index()["train"].labels.tolist() == [0, 1]


@pytest.mark.parametrize("value", [0.5, float("nan"), -7.0])
def test_a_float_that_is_no_label(tmp_path: Path, value: float) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"image": IMAGES[:1], "label": [value]}), tmp_path / "a.parquet")
    with pytest.raises(CorruptSourceError, match="row 0 has no label"):
        opened(tmp_path / "a.parquet")


def test_rows_that_hold_only_a_path_are_said_once(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [None] * 20, [0] * 20)
    with pytest.raises(InputError, match="the images are not in these files, only their paths"):
        opened(tmp_path / "a.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"image": ["a.png"], "label": [0]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="the images are not in these files, only their paths"):
        opened(tmp_path / "b.parquet")


def test_a_missing_file_of_a_series(tmp_path: Path) -> None:
    (release(tmp_path) / "data/train-00001-of-00002-3c.parquet").unlink()
    with pytest.raises(InputError, match=r"missing.*2 files.*no train-00001-of-00002"):
        opened(tmp_path)


@pytest.mark.parametrize("keep", [0, 3, 100, -4])
def test_a_truncated_file(tmp_path: Path, keep: int) -> None:
    write(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:keep])
    with pytest.raises(CorruptSourceError, match=r"damaged Parquet file.*a\.parquet"):
        opened(tmp_path / "a.parquet")


def test_a_file_that_changes_after_indexing(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet")
    source = opened(tmp_path / "a.parquet")
    write(tmp_path / "a.parquet", IMAGES[:9], LABELS[:9])
    with pytest.raises(InputError, match="changed since it was indexed"):
        source.read("train", 0, "a/0")


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"spectral-shards\[parquet\]"):
        opened(tmp_path / "a.parquet")

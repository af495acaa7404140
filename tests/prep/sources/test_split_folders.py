"""Which folders are splits and which are classes: no layout is guessed in silence."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from spectral_prep.errors import InputError
from spectral_prep.sources import open_source
from tests.support.releases import write_folder


def found(root: Path) -> dict[str, list[str]]:
    return {split: list(rows.names) for split, rows in open_source("folder", root, root / ".staging").index().items()}


def test_training_and_testing_are_splits(tmp_path: Path) -> None:
    write_folder(tmp_path, ["training/a/1.png", "testing/a/2.png"])
    assert found(tmp_path) == {"train": ["a/1.png"], "test": ["a/2.png"]}


@pytest.mark.parametrize(
    "folders",
    [
        ["seg_train/seg_train", "seg_test/seg_test", "seg_pred/x"],
        ["train2017/a", "val2017/a", "annotations/a"],
        ["Training/a", "Test/a"],
        ["train-images/a"],
    ],
)
def test_folders_called_like_splits_are_no_classes(tmp_path: Path, folders: list[str]) -> None:
    write_folder(tmp_path, [f"{folder}/1.png" for folder in folders])
    with pytest.raises(InputError, match=r"train"):
        found(tmp_path)


def test_classes_called_like_splits_are_classes_among_many(tmp_path: Path) -> None:
    write_folder(tmp_path, [f"{name}/1.png" for name in ("bullet train", "test tube", *"abcdefg")])
    assert len(found(tmp_path)["train"]) == 9


@pytest.mark.parametrize(
    ("files", "where"),
    [
        (["birds/train/a/1.png", "birds/val/a/2.png"], "birds"),
        (["birds/train/a/1.png", "docs/x/1.png"], "birds"),
        (["birds/a/1.png", "birds/b/2.png"], "birds"),
        (["train/train/a/1.png", "train/train/b/1.png"], "train/train"),
    ],
)
def test_a_source_one_level_too_high(tmp_path: Path, files: list[str], where: str) -> None:
    write_folder(tmp_path, files)
    with pytest.raises(InputError, match=rf"one level deeper.*--source {tmp_path / where}$"):
        found(tmp_path)


def test_what_is_seen_and_not_taken_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folder(tmp_path, ["train/a/1.png", "test/a/2.png", "val/a/3.png", "extra/a/4.png", "train/loose.png"])
    found(tmp_path)
    assert "not converted (the test images are those of test): extra, val" in caplog.text
    assert "outside all class folders, which are not converted: loose.png" in caplog.text


def test_rows_are_counted_by_split_and_class(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folder(tmp_path, ["train/a/1.png", "train/a/2.png", "train/b/2.png", "val/b/3.png"])
    with caplog.at_level(logging.INFO):
        found(tmp_path)
    assert "train: 3 images of 2 classes (a 2, b 1)" in caplog.text
    assert "test: 1 image of 2 classes (a 0, b 1)" in caplog.text

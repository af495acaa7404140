"""Class folders of image files: ImageNet extracted, Tiny-ImageNet, one's own data.

Goes in: a folder with train/<class>/… and, if there is one, a test set in test/, val/, validation/ or valid/; or one
with the class folders directly in it. Comes out: a `FolderSource` that reads one file a row.

Rows stand in the order of (file name, class, folder below the class), byte by byte, so that they do not depend on what
container the files came in. Names that begin with a dot and files without an image's extension are not looked at.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spectral_prep.errors import CorruptSourceError, InputError, StorageError
from spectral_prep.sources.base import RawImage, RowIndex
from spectral_prep.sources.reading import explained, missing

EXTENSIONS = (".jpeg", ".jpg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
TEST_FOLDERS = ("test", "val", "validation", "valid")
# Tiny-ImageNet's official val/ and test/ hold one folder of this name and no classes.
NOT_A_CLASS = "images"
IMAGENET_TREES = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")
IMAGENET_TAR = "ILSVRC2012_img_train.tar"


@dataclass(frozen=True)
class FolderSource:
    """A `Source` over image files; `splits` holds (split, folder below root), and rows are called "class/file".

    The fingerprint covers the names of the files and their classes but not their sizes: a damaged image may then be
    replaced by a good one and the conversion resumed.
    """

    root: Path
    splits: tuple[tuple[str, str], ...]
    classes: tuple[str, ...]
    fingerprint: str

    @property
    def image_shape(self) -> None:
        """None: the images may differ in size."""
        return

    @property
    def random_access(self) -> bool:
        """True: a file a row."""
        return True

    @property
    def release(self) -> None:
        """None: folders do not say of which release they are."""
        return

    def index(self) -> Mapping[str, RowIndex]:
        """Return the rows of each split, by listing the folders again."""
        return {split: _rows(self.root / folder, self.classes) for split, folder in self.splits}

    def read(self, split: str, row_id: int, name: str) -> RawImage:
        """Return the bytes of the row's file.

        Raises
        ------
        CorruptSourceError
            If the file is gone or may not be read.
        StorageError
            If the disk fails: the row may be good, so it must not be recorded as bad.
        """
        path = os.path.join(self.root, dict(self.splits)[split], name)
        try:
            with open(path, "rb") as file:
                return file.read()
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
            raise CorruptSourceError("cannot read an image", where=path, got=error.strerror) from error
        except OSError as error:
            raise StorageError("reading failed", where=path, got=error) from error


def open_folder(dataset: str, path: Path, staging: Path) -> FolderSource:
    """Open class folders; nothing is staged.

    Raises
    ------
    InputError
        If there are no class folders, a class folder holds no image, or the test set has a class that train has not.
    """
    source = _open(dataset, path)
    trained = set(_subfolders(path / dict(source.splits)["train"]))
    unknown = sorted(set(source.classes) - trained)
    if unknown:
        raise InputError(
            "test classes that train does not have",
            where=path,
            expected=f"some of the {len(trained)} class folders of train",
            got=_listed(unknown),
        )
    return source


def open_imagenet(dataset: str, path: Path, staging: Path) -> FolderSource:
    """Open the extracted ImageNet tree: train/ and val/ in the folder itself or below it in ILSVRC/Data/CLS-LOC.

    A part of ImageNet may have validation classes without training images; they are classes all the same.

    Raises
    ------
    InputError
        If there are no class folders or one holds no image, or if only the tar files are there, telling how to extract
        them.
    """
    for tree in IMAGENET_TREES:
        if (path / tree / "train").is_dir():
            return _open(dataset, path / tree)
    archives = [path] if path.is_file() else [*path.glob(IMAGENET_TAR), *path.glob(f"*/{IMAGENET_TAR}")]
    if archives:
        raise InputError(
            "the ImageNet archives must be extracted first",
            where=archives[0],
            expected="a folder with train/<wnid>/ and val/<wnid>/",
            run=f"mkdir train && tar -xf {archives[0].resolve()} -C train && cd train && "
            'for t in *.tar; do mkdir "${t%.tar}" && tar -xf "$t" -C "${t%.tar}" && rm "$t"; done '
            "(and sort the validation images into val/<wnid>/)",
        )
    return _open(dataset, path)


def _open(dataset: str, path: Path) -> FolderSource:
    expected = "a folder with train/<class>/ and val/<class>/, or with <class>/ folders, of image files"
    if not path.is_dir():
        raise missing(dataset, path, expected, got="a file" if path.exists() else "nothing there")
    splits = _splits(dataset, path, expected)
    classes = tuple(sorted({name for _, folder in splits for name in _subfolders(path / folder)}))
    return FolderSource(path, splits, classes, _fingerprint(path, splits, classes))


def _splits(dataset: str, root: Path, expected: str) -> tuple[tuple[str, str], ...]:
    folders = _subfolders(root)
    if "train" not in folders:
        if not folders or set(folders) <= set(TEST_FOLDERS):
            raise missing(dataset, root, expected, got=_listed(folders) if folders else "no folders")
        if mistaken := [name for name in folders if name.lower() in ("train", *TEST_FOLDERS)]:
            raise missing(
                dataset, root, "the training images in train/, or nothing but class folders", _listed(mistaken)
            )
        return (("train", ""),)
    classes = _subfolders(root / "train")
    if not classes:
        raise missing(dataset, root / "train", "one folder a class", got="no folders")
    for folder in TEST_FOLDERS:
        if folder in folders and (set(_subfolders(root / folder)) - ({NOT_A_CLASS} - set(classes))):
            return ("train", "train"), ("test", folder)
    return (("train", "train"),)


def _rows(folder: Path, classes: tuple[str, ...]) -> RowIndex:
    # One string a row, which sorts as the tuple would (NUL is below every character of a name) and is turned into the
    # row's name in place: tuples would double the memory that 1.3 million rows take.
    rows: list[str] = []
    empty: list[str] = []
    for label in sorted(set(_subfolders(folder)) & set(classes)):
        before = len(rows)
        rows.extend(f"{name}\0{label}\0{below}" for below, name in _images(folder / label))
        if len(rows) == before:
            empty.append(label)
    if empty:
        raise InputError(
            "class folders without an image",
            where=folder,
            expected=f"at least one file in each ({', '.join(EXTENSIONS)})",
            got=_listed(empty),
            run="remove these folders or fill them, then the same command",
        )
    rows.sort(key=os.fsencode)
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.empty(len(rows), np.int32)
    for row, packed in enumerate(rows):
        name, label, below = packed.split("\0")
        labels[row] = numbers[label]
        rows[row] = f"{label}/{below}{name}"
    return RowIndex(rows, labels)


def _images(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (folder below this one, ending in "/" unless it is this one; file name) of every image, in no order."""
    waiting = [""]
    while waiting:
        below = waiting.pop()
        with explained(folder / below), os.scandir(folder / below) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):  # a link to a folder may lead back up
                    waiting.append(f"{below}{entry.name}/")
                elif entry.name.lower().endswith(EXTENSIONS):
                    yield below, entry.name


def _subfolders(folder: Path) -> list[str]:
    with explained(folder), os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def _fingerprint(root: Path, splits: Iterable[tuple[str, str]], classes: tuple[str, ...]) -> str:
    content = hashlib.sha256(json.dumps(classes).encode())
    for split, folder in splits:
        rows = _rows(root / folder, classes)
        content.update(json.dumps([split, len(rows.names)]).encode())
        for name, label in zip(rows.names, rows.labels, strict=True):
            content.update(b"%d\0%s\n" % (label, os.fsencode(name)))
    return content.hexdigest()


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:20])
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"

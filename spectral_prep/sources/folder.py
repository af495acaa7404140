"""Class folders of image files: ImageNet extracted, Tiny-ImageNet, one's own data.

Input: a folder with train/<class>/… and, if there is one, a test set in test/, val/, validation/ or valid/; or one
with the class folders directly in it. Tiny-ImageNet's official val/, images in one folder and their classes in
val_annotations.txt, is a test set too. Output: a source that reads one file a row.

Names that begin with a dot and files without an image's extension are not looked at.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spectral_prep.errors import CorruptSourceError, InputError, StorageError
from spectral_prep.places import at, exists
from spectral_prep.places.url import Place, Url
from spectral_prep.printable import shown
from spectral_prep.sources.image_files import EncodedSource, Found, assemble
from spectral_prep.sources.name_list import bytes_of, text_of
from spectral_prep.sources.opening import (
    EXTENSIONS,
    LARGEST_IMAGE,
    explained,
    is_image,
    listed,
    missing,
    no_images,
    small_lines,
)
from spectral_prep.sources.row_table import ClassNumbers, RowTable

TEST_FOLDERS = ("test", "val", "validation", "valid")
# Tiny-ImageNet's official val/ and test/ hold one folder of this name and no classes.
NOT_A_CLASS = "images"
FILES_AT_ONCE = 16
ANNOTATIONS = "val_annotations.txt"
EXPECTED = "a folder with train/<class>/ and val/<class>/, or with <class>/ folders, of image files"


@dataclass(frozen=True)
class FolderReader:
    """Reads the rows of one split below a folder; `flat` where all files lie in it, whatever their class."""

    root: Place
    flat: bool = False

    @classmethod
    def below(cls, root: Place, *, flat: bool = False) -> FolderReader:
        """Return a reader of the files below a folder; in a bucket one that reads many at a time."""
        return (BucketFolderReader if isinstance(root, Url) else cls)(root, flat)

    @property
    def random_access(self) -> bool:
        """True: a file a row."""
        return True

    @property
    def needs_scratch(self) -> bool:
        """False: names are all that it takes."""
        return False

    def for_rows(self, ids: npt.NDArray[np.int32]) -> FolderReader:
        """Return this reader."""
        return self

    def read(self, row_id: int, name: str) -> bytes:
        """Return the bytes of the row's file.

        Raises
        ------
        CorruptSourceError
            If the file is gone, may not be read, is no regular file or larger than any image.
        InputError
            If the whole folder is gone, or this machine does not see it: then no row is bad.
        StorageError
            If the disk fails: the row may be good, so it must not be recorded as bad.
        """
        file = os.fsdecode(bytes_of(name))
        path = self.root / (os.path.basename(file) if self.flat else file)
        try:
            return at(path).read(LARGEST_IMAGE)
        except (FileNotFoundError, PermissionError, ValueError) as error:
            if isinstance(self.root, Path) and not self.root.is_dir():
                raise InputError(
                    "the folder of the images is gone",
                    where=self.root,
                    expected="a folder that every machine which converts sees, for as long as it does",
                    got=f"none on {socket.gethostname()}",
                    run="the same command when it is there",
                ) from error
            got = error.strerror if isinstance(error, OSError) else error
            raise CorruptSourceError("cannot read an image", where=path, got=got) from error
        except OSError as error:
            raise StorageError("reading failed", where=path, got=error) from error


class BucketFolderReader(FolderReader):
    """The same from a bucket, many rows at a time; a `ManyReader`."""

    def read_many(self, rows: Sequence[tuple[int, str]]) -> list[bytes | CorruptSourceError]:
        """Return the bytes of the rows' objects, asked for at the same time."""
        with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
            return list(pool.map(lambda row: self._read(*row), rows))

    def _read(self, row_id: int, name: str) -> bytes | CorruptSourceError:
        try:
            return self.read(row_id, name)
        except CorruptSourceError as error:
            return error


def open_folder(dataset: str, path: Place, staging: Path) -> EncodedSource:
    """Open class folders; only names go into the scratch folder.

    Raises
    ------
    InputError
        If there are no class folders, a class folder holds no image, or the test set has a class that train has not.
    """
    train, test = _splits(dataset, path)
    numbers = ClassNumbers()
    found = {"train": class_folders(path / train, numbers)}
    trained = set(map(text_of, subfolders(path / train)))
    if test is not None:
        found["test"] = _test_images(path / test, numbers)
        unknown = sorted(set(numbers.sorted()[0]) - trained)
        if unknown:
            raise InputError(
                "test classes that train does not have",
                where=path,
                expected=f"some of the {len(trained)} class folders of train",
                got=listed(unknown),
            )
    return assemble(staging, numbers, found)


def class_folders(root: Place, numbers: ClassNumbers, *, empty: bool = False) -> Found:
    """Return the images below the class folders of `root`; unless `empty`, each class must have some.

    Raises
    ------
    InputError
        If class folders hold no image, naming them.
    """
    rows, without = RowTable(), []
    for name in subfolders(root):
        before, label = len(rows), numbers.number(name)
        for folder, file in _images(root, name):
            rows.add(folder, file, label)
        if len(rows) == before:
            without.append(name)
    if without and not empty:
        raise classes_without_images(root, without)
    return Found(rows, lambda _: FolderReader.below(root))


def flat_folder(root: Place, class_of: Callable[[str], str], numbers: ClassNumbers) -> Found:
    """Return the images that lie directly in `root`, each called "class/file" after what `class_of(file)` says."""
    rows = RowTable()
    with explained(root):
        names = list(filter(is_image, at(root).names()))
    if not names:
        raise no_images(root)
    for name in names:
        label = class_of(name)
        rows.add(label, name, numbers.number(label))
    return Found(rows, lambda _: FolderReader.below(root, flat=True))


def subfolders(folder: Place) -> list[str]:
    """Return the names of the folders in a folder, in order, without hidden ones."""
    with explained(folder):
        return [name for name in at(folder).folders() if not name.startswith(".")]


def classes_without_images(where: Place, names: list[str]) -> InputError:
    """Return the error for classes that hold nothing to convert."""
    return InputError(
        "class folders without an image",
        where=where,
        expected=f"at least one file in each ({', '.join(EXTENSIONS)})",
        got=listed(names),
        run="remove these folders or fill them, then the same command",
    )


def _splits(dataset: str, root: Place) -> tuple[str, str | None]:
    """Return the folders of training and test images, below root."""
    if not at(root).is_folder():
        raise missing(dataset, root, EXPECTED, got="a file" if exists(root) else "nothing there")
    folders = subfolders(root)
    if "train" not in folders:
        if not folders or set(folders) <= set(TEST_FOLDERS):
            raise missing(dataset, root, EXPECTED, got=listed(folders) if folders else "no folders")
        if mistaken := [name for name in folders if name.lower() in ("train", *TEST_FOLDERS)]:
            raise missing(
                dataset, root, "the training images in train/, or nothing but class folders", listed(mistaken)
            )
        return "", None
    classes = subfolders(root / "train")
    if not classes:
        raise missing(dataset, root / "train", "one folder a class", got="no folders")
    for folder in TEST_FOLDERS:
        if folder in folders and (has_classes(root / folder, classes) or exists(root / folder / ANNOTATIONS)):
            return "train", folder
    return "train", None


def has_classes(folder: Place, trained: Iterable[str] = ()) -> bool:
    """Whether a test set comes in class folders; one called "images" is none, unless it is a class in training."""
    return bool(set(subfolders(folder)) - ({NOT_A_CLASS} - set(trained)))


def _test_images(root: Place, numbers: ClassNumbers) -> Found:
    if has_classes(root) or not exists(root / ANNOTATIONS):
        return class_folders(root, numbers)
    classes = _annotations(root / ANNOTATIONS)
    return flat_folder(root / NOT_A_CLASS, lambda name: _annotated(classes, name, root), numbers)


def _annotations(path: Place) -> Mapping[str, str]:
    """Return the class of each file: the first two of the columns, which tabs separate."""
    classes: dict[str, str] = {}
    for number, line in enumerate(filter(bytes.strip, small_lines(path)), 1):
        name, *columns = os.fsdecode(line.rstrip(b"\r\n")).split("\t", 2)
        if not columns:
            raise CorruptSourceError(f"no class in line {number}", where=path, expected="file name, tab, class, …")
        classes[name] = columns[0]
    return classes


def _annotated(classes: Mapping[str, str], name: str, root: Place) -> str:
    if name not in classes:
        raise CorruptSourceError(
            f"no class for {shown(name)}", where=root / ANNOTATIONS, expected="a line for each image"
        )
    return classes[name]


def _images(root: Place, label: str) -> Iterator[tuple[str, str]]:
    """Yield (folder below root, file name) of every image of a class, in no order."""
    folder = root / label
    with explained(folder):
        for path in at(folder).paths():
            above, _, file = path.rpartition("/")
            if is_image(file) and not any(part.startswith(".") for part in above.split("/")):
                yield f"{label}/{above}" if above else label, file

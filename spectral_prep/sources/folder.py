"""Class folders of image files: ImageNet extracted, Tiny-ImageNet, one's own data.

Input: a folder with train/<class>/… and, if there is one, a test set in test/, val/, validation/ or valid/; or one
with the class folders directly in it. Tiny-ImageNet's official val/, images in one folder and their classes in
val_annotations.txt, is a test set too. Output: a source that reads one file a row.

A file is an image if its name ends as images' names do, or else if it begins as they do. All others are counted by
kind, and hidden ones and those that operating systems leave are passed over (`ignored`).
"""

from __future__ import annotations

import os
import socket
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from spectral_prep.errors import CorruptSourceError, InputError, StorageError
from spectral_prep.places import at, exists
from spectral_prep.places.url import Place, Url
from spectral_prep.printable import shown
from spectral_prep.sources.ignored import Ignored, is_junk, tell_untaken
from spectral_prep.sources.image_files import EncodedSource, Found, assemble
from spectral_prep.sources.name_list import bytes_of
from spectral_prep.sources.opening import (
    EXTENSIONS,
    LARGEST_IMAGE,
    explained,
    is_image,
    listed,
    no_images,
    small_lines,
)
from spectral_prep.sources.row_table import ClassNumbers, RowTable
from spectral_prep.sources.sniff import images_among
from spectral_prep.sources.split_folders import (
    ANNOTATIONS,
    NOT_A_CLASS,
    find_splits,
    has_classes,
    subfolders,
    tell_loose,
)
from spectral_prep.system.staging import is_staging

FILES_AT_ONCE = 16


@dataclass(frozen=True)
class FolderReader:
    """Reads the rows of one split below a folder; `flat` where all files lie in it, whatever their class."""

    random_access: ClassVar[bool] = True  # a file a row
    needs_scratch: ClassVar[bool] = False  # names are all that it takes

    root: Place
    flat: bool = False

    @classmethod
    def below(cls, root: Place, *, flat: bool = False) -> FolderReader:
        """Return a reader of the files below a folder; in a bucket one that reads many at a time."""
        return (BucketFolderReader if isinstance(root, Url) else cls)(root, flat)

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


def open_folder(dataset: str, path: Place, staging: Path, *, to_train: bool = True) -> EncodedSource:
    """Open class folders; only names go into the scratch folder. Those without an image are named and are no classes.

    A test set may stand alone, in test/ or val/, where nothing is to be trained.

    Raises
    ------
    InputError
        If there are no class folders with images, the layout may be meant in another way, or the test set has a class
        that train has not.
    """
    train, test = find_splits(dataset, path, to_train=to_train)
    numbers, ignored, found = ClassNumbers(), Ignored(), {}
    if train is not None:
        found["train"] = class_folders(path / train, numbers, ignored, own=own_output(staging))
    trained = set(numbers.sorted()[0])
    if test is not None:
        found["test"] = _test_images(path / test, numbers, ignored)
        if train is not None and (unknown := sorted(set(numbers.sorted()[0]) - trained)):
            raise InputError(
                "test classes that train does not have",
                where=path,
                expected=f"some of the {len(trained)} class folders of train",
                got=listed(unknown),
            )
    ignored.tell(path)
    return assemble(staging, numbers, found)


def own_output(staging: Path) -> Path | None:
    """Return the folder that is being written, which may lie among the images; None where it is not known."""
    return Path(os.path.realpath(staging.parent)) if is_staging(staging.name) else None


def class_folders(
    root: Place, numbers: ClassNumbers, ignored: Ignored, *, empty: bool = False, own: Path | None = None
) -> Found:
    """Return the images below the class folders of `root`, but for what lies in `own`.

    A class folder without an image is named; a class it is only if `empty`.

    Raises
    ------
    InputError
        If no class folder holds an image, unless `empty`.
    """
    rows, without = RowTable(), []
    tell_loose(root)
    for name in subfolders(root):
        if own is not None and own == Path(os.path.realpath(str(root / name))):
            continue
        before = len(rows)
        for folder, file in _images(root, name, ignored, own):
            rows.add(folder, file, numbers.number(name))
        if len(rows) == before:
            without.append(name)
            if empty:
                numbers.number(name)
    if not len(rows) and not empty:
        raise classes_without_images(root, without)
    tell_untaken("Class folders without an image", root, without)
    return Found(rows, lambda _: FolderReader.below(root))


def flat_folder(root: Place, class_of: Callable[[str], str], numbers: ClassNumbers, ignored: Ignored) -> Found:
    """Return the images that lie directly in `root`, each called "class/file" after what `class_of(file)` says."""
    rows = RowTable()
    with explained(root):
        for _, name in _told_apart(root, at(root).names(), ignored):
            label = class_of(name)
            rows.add(label, name, numbers.number(label))
    if not len(rows):
        raise no_images(root)
    return Found(rows, lambda _: FolderReader.below(root, flat=True))


def classes_without_images(where: Place, names: list[str]) -> InputError:
    """Return the error for classes that hold nothing to convert."""
    return InputError(
        "class folders without an image",
        where=where,
        expected=f"at least one file in each ({', '.join(EXTENSIONS)})",
        got=listed(names),
        run="remove these folders or fill them, then the same command",
    )


def _test_images(root: Place, numbers: ClassNumbers, ignored: Ignored) -> Found:
    if has_classes(root) or not exists(root / ANNOTATIONS):
        return class_folders(root, numbers, ignored)
    classes = _annotations(root / ANNOTATIONS)
    return flat_folder(root / NOT_A_CLASS, lambda name: _annotated(classes, name, root), numbers, ignored)


def _annotations(path: Place) -> Mapping[str, str]:
    """Return the class of each file: the first two of the columns, which tabs separate."""
    classes: dict[str, str] = {}
    for number, line in enumerate(filter(bytes.strip, small_lines(path)), 1):
        name, *columns = os.fsdecode(line.rstrip(b"\r\n")).split("\t", 2)
        if not columns:
            raise CorruptSourceError(f"no class in line {number}", where=path, expected="file name, tab, class, …")
        classes[unicodedata.normalize("NFC", name)] = columns[0]
    return classes


def _annotated(classes: Mapping[str, str], name: str, root: Place) -> str:
    """Return the class of a file; its name may be listed in its other Unicode form, or in Windows' encoding."""
    composed = unicodedata.normalize("NFC", name)
    western = os.fsdecode(composed.encode("cp1252", "ignore"))
    found = classes.get(composed, classes.get(western))
    if found is None:
        raise CorruptSourceError(
            f"no class for {shown(name)}", where=root / ANNOTATIONS, expected="a line for each image"
        )
    return found


def _images(root: Place, label: str, ignored: Ignored, own: Path | None) -> Iterator[tuple[str, str]]:
    """Yield (folder below root, file name) of every image of a class, in no order."""
    folder = root / label
    with explained(folder):
        paths = at(folder).paths()
        if own is not None and isinstance(folder, Path) and own.is_relative_to(os.path.realpath(folder)):
            inside = f"{own.relative_to(os.path.realpath(folder)).as_posix()}/"
            paths = (path for path in paths if not path.startswith(inside))
        for above, file in _told_apart(folder, paths, ignored):
            yield f"{label}/{above}" if above else label, file


def _told_apart(folder: Place, paths: Iterable[str], ignored: Ignored) -> Iterator[tuple[str, str]]:
    """Yield (folder below this one, file name) of each image among these paths: by its name, or else by its content."""
    unsure = []
    for path in paths:
        if any(map(is_junk, path.split("/"))):
            ignored.add(path)
        elif is_image(path):
            above, _, file = path.rpartition("/")
            yield above, file
        else:
            unsure.append(path)
    for path, image in images_among(folder, unsure) if unsure else ():
        if image:
            above, _, file = path.rpartition("/")
            yield above, file
        else:
            ignored.add(path)

"""The IDX releases: MNIST, Fashion-MNIST, Kuzushiji-MNIST and EMNIST.

Input: a folder with four files, gzip or not (http://yann.lecun.com/exdb/mnist/, "the IDX file format"), for example
train-images-idx3-ubyte.gz. EMNIST puts a prefix before each name, and several sets may lie in one folder: then the path
ends in the prefix of the wanted one (data/emnist/emnist-balanced). The folder that torchvision downloaded into, which
has the files in MNIST/raw or the like, will do as well. Output: an `ArraySource`.

EMNIST stores each image transposed; it is turned back here, so that all four look alike.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.places import at, exists
from spectral_prep.places.url import Place
from spectral_prep.printable import quoted
from spectral_prep.sources.arrays import ArraySource, Batch, ClassNames, rows_per_batch, stage
from spectral_prep.sources.interface import SPLITS
from spectral_prep.sources.opening import explained, missing, open_plain

# The last byte of the magic number is the number of dimensions, the one before it the type: 8 = unsigned byte.
IMAGES_MAGIC, LABELS_MAGIC = 0x00000803, 0x00000801
LARGEST_SIDE = 1 << 12

_DIGITS = tuple(string.digits)
CLASSES: Mapping[str, tuple[str, ...]] = {
    "mnist": _DIGITS,
    "fashion-mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
}
# The mapping files of the EMNIST release. balanced and bymerge merge the 15 letters whose two cases look alike; the
# labels of letters are 1 to 26, so its class 0 is never used.
_MERGED = (*_DIGITS, *string.ascii_uppercase, *"abdefghnqrt")
EMNIST_CLASSES: Mapping[str, tuple[str, ...]] = {
    "emnist-balanced": _MERGED,
    "emnist-byclass": (*_DIGITS, *string.ascii_uppercase, *string.ascii_lowercase),
    "emnist-bymerge": _MERGED,
    "emnist-letters": ("unused", *string.ascii_uppercase),
    "emnist-digits": _DIGITS,
    "emnist-mnist": _DIGITS,
}

TORCHVISION: Mapping[str, str] = {
    "mnist": "MNIST/raw",
    "fashion-mnist": "FashionMNIST/raw",
    "kmnist": "KMNIST/raw",
    "emnist": "EMNIST/raw",
}
"""Where torchvision puts the files, below its `root`."""

_FILE_NAME = re.compile(r"(?:(.+)-)?(train|t10k|test)-(images|labels)[-.]idx[13]-ubyte(?:\.gz)?")
KINDS = ("images", "labels")


@dataclass(frozen=True)
class IdxFiles:
    """The files of one set, by split and kind; `prefix` is "" where the release has none."""

    prefix: str
    paths: Mapping[tuple[str, str], Place]

    @property
    def splits(self) -> list[str]:
        """The splits that any of the files is of."""
        return [split for split in SPLITS if any((split, kind) in self.paths for kind in KINDS)]


def open_idx(dataset: str, path: Place, staging: Path, *, to_train: bool = True) -> ArraySource:
    """Open mnist, fashion-mnist, kmnist or emnist; rows are called "train#17" and "test#17".

    The two files of one split may be missing where nothing is to be trained.

    Raises
    ------
    InputError
        If a file is missing, or several sets lie in the folder and the path does not end in the prefix of one.
    CorruptSourceError
        If a file is truncated, longer than its header says, not IDX, or images and labels do not match.
    """
    files = find(dataset, path, to_train=to_train)
    if dataset == "emnist":
        if files.prefix not in EMNIST_CLASSES:
            known = ", ".join(EMNIST_CLASSES)
            raise InputError("unknown EMNIST set", where=path, expected=f"one of {known}", got=files.prefix)
        classes = EMNIST_CLASSES[files.prefix]
    else:
        classes = CLASSES[dataset]
    return stage(
        {split: split for split in files.splits},
        len(classes),
        _content(files, classes, transposed=dataset == "emnist"),
        staging,
    )


def find(dataset: str, path: Place, *, to_train: bool = True) -> IdxFiles:
    """Return the files that a path means: those in it, or those in its parent with its last part as prefix.

    Raises
    ------
    InputError
        As in `open_idx`.
    """
    expected = "a folder with the IDX files train-images, train-labels, t10k-images and t10k-labels"
    folder, prefix = (path, None) if at(path).is_folder() else (path.parent, path.name)
    if not at(folder).is_folder():
        raise missing(dataset, path, expected, to_train=to_train)
    name, _, raw = TORCHVISION[dataset].partition("/")
    places = (folder, folder / name / raw, folder / raw)
    folder, sets = next(
        (each for each in ((place, _wanted_sets(dataset, place, prefix)) for place in places) if each[1]), (folder, {})
    )
    if len(sets) > 1:
        raise InputError(
            f"several {dataset} sets in one folder",
            where=folder,
            expected="one set, or --source ending in the prefix of one",
            got=", ".join(sorted(name or "files without a prefix" for name in sets)),
            run=f"the same command with --source {quoted(folder / max(sets))}",
        )
    if not sets:
        raise missing(dataset, path, expected, to_train=to_train)
    (found,) = sets.values()
    splits = SPLITS if to_train else found.splits
    lacking = [f"{split} {kind}" for split in splits for kind in KINDS if (split, kind) not in found.paths]
    if lacking:
        raise missing(dataset, folder, expected, got=f"no file of {', '.join(lacking)}", to_train=to_train)
    return found


def _wanted_sets(dataset: str, folder: Place, prefix: str | None) -> dict[str, IdxFiles]:
    """Return the sets in a folder, if it is one, that are of a data set and have this prefix; by their prefix."""
    if not at(folder).is_folder():
        return {}
    return {
        found.prefix: found
        for found in _sets(folder)
        if found.prefix.startswith("emnist") == (dataset == "emnist") and prefix in (None, found.prefix)
    }


def read_pairs(images: Place, labels: Place) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]:
    """Yield batches of (n, H, W) images and their (n,) labels from two IDX files, about a mebibyte at a time.

    Raises
    ------
    InputError
        If a file cannot be opened.
    CorruptSourceError
        If the magic number is another, the file is shorter or longer than its header says, the gzip container is
        damaged, or the two files do not hold equally many.
    """
    with open_plain(images) as image_file, open_plain(labels) as label_file:
        image_stream = _Stream(image_file, images)
        label_stream = _Stream(label_file, labels)
        count, height, width = image_stream.header(IMAGES_MAGIC, "images", dimensions=3)
        (label_count,) = label_stream.header(LABELS_MAGIC, "labels", dimensions=1)
        if count != label_count:
            raise CorruptSourceError(
                "images and labels of different length",
                where=f"{images} and {labels}",
                expected=f"{count} labels for {count} images",
                got=f"{label_count} labels",
            )
        if not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE):
            raise CorruptSourceError(
                "impossible image size",
                where=images,
                expected=f"1 to {LARGEST_SIDE} pixels a side",
                got=(height, width),
            )
        step = rows_per_batch(height * width)
        for start in range(0, count, step):
            rows = min(step, count - start)
            pixels = image_stream.take(rows * height * width).reshape(rows, height, width)
            yield pixels, label_stream.take(rows)
        image_stream.finish()
        label_stream.finish()


class _Stream:
    """An IDX file read forwards, counting, so that an error can say how much was expected and how much came."""

    def __init__(self, file: BinaryIO, path: Place) -> None:
        self.file = file
        self.path = path
        self.read = 0
        self.total = 0

    def header(self, magic: int, what: str, dimensions: int) -> tuple[int, ...]:
        self.total = 4 * (1 + dimensions)
        got, *sizes = (int(number) for number in self.take(self.total).view(">u4"))
        if got != magic:
            raise CorruptSourceError(
                f"wrong magic number for IDX {what}", where=self.path, expected=f"0x{magic:08x}", got=f"0x{got:08x}"
            )
        size = 1
        for number in sizes:
            size *= number
        self.total += size
        return tuple(sizes)

    def take(self, size: int) -> npt.NDArray[np.uint8]:
        with explained(self.path):
            content = self.file.read(size)
        self.read += len(content)
        if len(content) < size:
            raise CorruptSourceError(
                "truncated IDX file",
                where=self.path,
                expected=f"{self.total} bytes (uncompressed)",
                got=f"{self.read} bytes",
            )
        return np.frombuffer(content, np.uint8)

    def finish(self) -> None:
        # Reading to the end is also what makes gzip check its checksum.
        with explained(self.path):
            trailing = self.file.read(1)
        if trailing:
            raise CorruptSourceError(
                "trailing bytes after the last row of an IDX file",
                where=self.path,
                expected=f"{self.total} bytes (uncompressed)",
                got="more",
            )


def _content(files: IdxFiles, classes: tuple[str, ...], transposed: bool) -> Iterator[Batch | ClassNames]:
    yield ClassNames(classes)
    for split in files.splits:
        labels_path = files.paths[split, "labels"]
        for images, labels in read_pairs(files.paths[split, "images"], labels_path):
            upright = images.transpose(0, 2, 1) if transposed else images
            yield Batch(split, upright[..., None], labels, str(labels_path))


def _sets(folder: Place) -> list[IdxFiles]:
    found: dict[str, dict[tuple[str, str], Place]] = {}
    with explained(folder):
        names = at(folder).names()
    for name in names:  # an unpacked file sorts before, and is preferred to, its .gz
        match = _FILE_NAME.fullmatch(name)
        if match and exists(folder / name):
            split = "train" if match[2] == "train" else "test"
            found.setdefault(match[1] or "", {}).setdefault((split, match[3]), folder / name)
    return [IdxFiles(prefix, paths) for prefix, paths in found.items()]

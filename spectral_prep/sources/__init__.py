"""Where images come from: one file a release layout, one table of names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Protocol

from spectral_prep.errors import InputError
from spectral_prep.places.url import Place, absolute
from spectral_prep.sources.cifar import open_cifar
from spectral_prep.sources.digits import open_digits
from spectral_prep.sources.folder import open_folder
from spectral_prep.sources.idx import open_idx
from spectral_prep.sources.imagenet import open_imagenet
from spectral_prep.sources.imagenet21k import open_imagenet21k
from spectral_prep.sources.interface import Fields, Source
from spectral_prep.sources.parquet import open_parquet
from spectral_prep.sources.synthetic import open_synthetic
from spectral_prep.sources.webdataset import open_webdataset


class _FieldsOpener(Protocol):
    """Opens files of which something has to be chosen, and that may be of a test set alone."""

    def __call__(
        self, dataset: str, path: Place, staging: Path, fields: Fields = ..., *, to_train: bool = ...
    ) -> Source:
        """Return the source."""
        ...


class _TestOpener(Protocol):
    """Opens files that may be of a test set alone."""

    def __call__(self, dataset: str, path: Place, staging: Path, *, to_train: bool = ...) -> Source:
        """Return the source."""
        ...


WITH_FIELDS: Mapping[str, _FieldsOpener] = {
    "webdataset": open_webdataset,
    "parquet": open_parquet,
}
"""Those whose rows may have several images and labels, and whose files may be of a test set alone: called with that."""

TEST_ALONE: Mapping[str, _TestOpener] = {
    "mnist": open_idx,
    "fashion-mnist": open_idx,
    "kmnist": open_idx,
    "emnist": open_idx,
    "cifar10": open_cifar,
    "cifar100": open_cifar,
    "folder": open_folder,
    "imagenet": open_imagenet,
}
"""Others whose files may be of a test set alone."""

SOURCES: Mapping[str, Callable[[str, Place, Path], Source]] = {
    "digits": open_digits,
    **TEST_ALONE,
    "imagenet21k": open_imagenet21k,
    **WITH_FIELDS,
    "synthetic": open_synthetic,
}
"""What opens each data set, called with (dataset, path, staging)."""

ARCHIVES = (".tar", ".gz", ".tgz", ".zip", ".parquet")
"""How a file ends that is called without it."""

WITHOUT_FILES = ("digits", "synthetic")
"""Data sets that need no files."""


PUBLISHED = (
    "digits",
    "mnist",
    "fashion-mnist",
    "kmnist",
    "emnist",
    "cifar10",
    "cifar100",
    "imagenet",
    "imagenet21k",
    "synthetic",
)
"""Data sets that are called by these names; all others are called after the folder that they lie in."""

LONGEST_TITLE = 100


def default_name(dataset: str, source: Place) -> str | None:
    """Return what a data set of one's own is called: after its folder or archive; None for one that has a name.

    >>> default_name("folder", Path("data/My photos")), default_name("webdataset", Path("data/pets-train.tar"))
    ('My-photos', 'pets-train')
    >>> default_name("mnist", Path("data/mnist")) is None
    True
    """
    if dataset in PUBLISHED:
        return None
    name = PurePosixPath(absolute(source).name)
    while name.suffix.lower() in ARCHIVES:
        name = name.with_suffix("")
    found = re.sub(r"[^A-Za-z0-9._+-]+", "-", str(name)).strip("-._+")[:LONGEST_TITLE]
    return found if found and found != dataset else None


def open_source(
    dataset: str, path: Place, staging: Path, fields: Fields | None = None, *, to_train: bool = True
) -> Source:
    """Open a data set before conversion.

    A data set that comes with scikit-learn, and what all its images share:

    >>> from tempfile import TemporaryDirectory
    >>> scratch = TemporaryDirectory()
    >>> source = open_source("digits", Path(), Path(scratch.name, "digits"))
    >>> source.image_shape
    (8, 8, 1)

    Its rows and its classes:

    >>> {split: rows.labels.shape for split, rows in source.index().items()}, len(source.classes)
    ({'train': (1438,), 'test': (359,)}, 10)

    The raw image of one row, by its split, its row id and its name:

    >>> source.read("test", 0, source.index()["test"].names[0]).shape
    (8, 8, 1)

    Image files in a folder for each class, of which any may have another size:

    >>> from PIL import Image
    >>> photos = Path(scratch.name, "photos")
    >>> for name, size in {"train/cat/a.png": (48, 32), "train/dog/b.png": (64, 64), "val/cat/c.png": (32, 32)}.items():
    ...     (photos / name).parent.mkdir(parents=True, exist_ok=True)
    ...     Image.new("RGB", size).save(photos / name)
    >>> source = open_source("folder", photos, Path(scratch.name, "staging"))
    >>> source.classes, source.image_shape, {split: list(rows.names) for split, rows in source.index().items()}
    (('cat', 'dog'), None, {'train': ['cat/a.png', 'dog/b.png'], 'test': ['cat/c.png']})

    What `read` gives for these is the file, which `images.load.load` decodes and brings to the one size of all rows:

    >>> from spectral_prep.images.load import Geometry, load
    >>> load(source.read("train", 0, "cat/a.png"), Geometry(28, 28, 3, resize=32)).shape
    (28, 28, 3)
    >>> scratch.cleanup()

    Parameters
    ----------
    dataset
        A name in `SOURCES`.
    path
        Where its files are; `digits` needs none, `synthetic` a description of its images in their place.
    staging
        A folder for scratch files, made if need be. The caller owns it, keeps it as long as the source is read, and
        deletes it. Sets whose pixels come as arrays take their uncompressed size there, encoded images some 60
        bytes a row.
    fields
        Which image and which label of a row, where there are several: of `webdataset` and `parquet`.
    to_train
        Whether rows to train on are needed. If not, the files may all be of a test set.

    Raises
    ------
    InputError
        If the data set is unknown, or its files are missing or laid out in another way.
    CorruptSourceError
        If its files are damaged.
    StorageError
        If the scratch files do not fit on the disk.
    """
    if str(path) == "-":
        raise InputError(
            "images cannot come through a pipe",
            expected="a file or folder: its rows are counted and sampled before they are converted, and read again "
            "where a conversion goes on",
            run="the same command with --source and the archive; a .tar.gz is read without unpacking it",
        )
    if dataset not in SOURCES:
        raise InputError("unknown data set", expected=f"one of {', '.join(SOURCES)}", got=repr(dataset))
    fields = fields or Fields()
    opener = WITH_FIELDS.get(dataset)
    if fields != Fields() and (opener is None or (fields.image_key is None) != (dataset == "parquet")):
        raise InputError(
            "there is nothing to choose from in such a source",
            expected="--image-key with --dataset webdataset, --image-column and --label-column with parquet",
            got=f"--dataset {dataset}",
        )
    if opener is not None:
        return opener(dataset, path, staging, fields, to_train=to_train)
    if dataset in TEST_ALONE:
        return TEST_ALONE[dataset](dataset, path, staging, to_train=to_train)
    return SOURCES[dataset](dataset, path, staging)


def where_test_rows_go(dataset: str) -> str:
    """Say where test images would lie in a source of this kind."""
    if dataset in WITH_FIELDS:
        return "in files whose names say test or validation, beside those that say train"
    return "in test/ or val/ beside train/"

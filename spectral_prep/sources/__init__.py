"""Where images come from: one file a release layout, one table of names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from spectral_prep.errors import InputError
from spectral_prep.sources.cifar import open_cifar
from spectral_prep.sources.digits import open_digits
from spectral_prep.sources.folder import open_folder
from spectral_prep.sources.idx import open_idx
from spectral_prep.sources.imagenet import open_imagenet
from spectral_prep.sources.imagenet21k import open_imagenet21k
from spectral_prep.sources.interface import Source
from spectral_prep.sources.parquet import open_parquet
from spectral_prep.sources.webdataset import open_webdataset

SOURCES: Mapping[str, Callable[[str, Path, Path], Source]] = {
    "digits": open_digits,
    "mnist": open_idx,
    "fashion-mnist": open_idx,
    "kmnist": open_idx,
    "emnist": open_idx,
    "cifar10": open_cifar,
    "cifar100": open_cifar,
    "folder": open_folder,
    "imagenet": open_imagenet,
    "imagenet21k": open_imagenet21k,
    "webdataset": open_webdataset,
    "parquet": open_parquet,
}
"""What opens each data set, called with (dataset, path, staging)."""


def open_source(dataset: str, path: Path, staging: Path) -> Source:
    """Open a data set before conversion.

    Parameters
    ----------
    dataset
        A name in `SOURCES`.
    path
        Where its files are; `digits` needs none.
    staging
        A folder for scratch files, made if need be. The caller owns it, keeps it as long as the source is read, and
        deletes it. Sets whose pixels come as arrays take their uncompressed size there, encoded images some 60
        bytes a row.

    Raises
    ------
    InputError
        If the data set is unknown, or its files are missing or laid out in another way.
    CorruptSourceError
        If its files are damaged.
    StorageError
        If the scratch files do not fit on the disk.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as staging:
    ...     source = open_source("digits", Path(), Path(staging))
    ...     source.image_shape, {split: len(rows.names) for split, rows in source.index().items()}
    ((8, 8, 1), {'train': 1438, 'test': 359})
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
    return SOURCES[dataset](dataset, path, staging)

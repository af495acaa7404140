"""Which data set a place looks like, by names alone: for whoever did not say.

Input: a file or folder. Output: a name of `SOURCES`. Class folders are what everything else is taken for.
"""

from __future__ import annotations

import re

from spectral_prep.places import at
from spectral_prep.places.url import Place

BY_NAME = (
    ("imagenet", re.compile(r"ILSVRC2012_(img_(train|val)\.tar|devkit_t12(\.tar\.gz)?)|LOC_val_solution\.csv")),
    ("imagenet21k", re.compile(r"(fall11_whole|winter21_whole)\.tar(\.gz)?")),
    ("cifar100", re.compile(r"cifar-100-.*")),
    ("cifar10", re.compile(r"cifar-10-.*|(data_batch_1|test_batch)(\.bin)?")),
    ("emnist", re.compile(r"emnist-.*-ubyte(\.gz)?")),
    ("mnist", re.compile(r"(train|t10k)-images.idx3-ubyte(\.gz)?")),
    ("parquet", re.compile(r".*\.parquet")),
    ("webdataset", re.compile(r".*\.(tar|tar\.gz|tgz)")),
)

DEPTH = 3
"""Of the folders that are looked into, the first one of each: as in torchvision's MNIST/raw."""


def looks_like(place: Place) -> str:
    """Return the data set that a place most likely holds.

    >>> from pathlib import Path
    >>> looks_like(Path("test/shard-0000.tar")), looks_like(Path("cifar-10-python.tar.gz")), looks_like(Path("photos"))
    ('webdataset', 'cifar10', 'folder')
    """
    names = [place.name]
    for _ in range(DEPTH):
        here = at(place)
        if not here.is_folder():
            break
        folders = [name for name in here.folders() if not name.startswith(".")]
        names += [*here.names(), *folders[:1]]
        if not folders:
            break
        place = place / folders[0]
    return next((name for name, pattern in BY_NAME if any(map(pattern.fullmatch, names))), "folder")

"""scikit-learn's bundled digits: 1797 images of 8×8, the set that needs no file and no download."""

from __future__ import annotations

import string
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from spectral_prep.places.url import Place
from spectral_prep.sources.arrays import ArraySource, Batch, ClassNames, stage
from spectral_prep.sources.interface import SPLITS

TEST_EVERY = 5
LARGEST_GREY = 16


def open_digits(dataset: str, path: Place, staging: Path) -> ArraySource:
    """Open the digits; `path` is not used.

    The grey levels 0..16 become round(v·255/16). scikit-learn has no split: every fifth row, counted from the fifth, is
    a test row (359 of 1797), the others are training rows, both in scikit-learn's order.
    """
    return stage({split: split for split in SPLITS}, 10, _content(dataset), staging)


def _content(dataset: str) -> Iterator[Batch | ClassNames]:
    from sklearn.datasets import load_digits  # slow to import, and needed here only

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / LARGEST_GREY)).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int64)
    test = np.arange(len(labels)) % TEST_EVERY == TEST_EVERY - 1
    yield ClassNames(tuple(string.digits))
    for split, chosen in zip(SPLITS, (~test, test), strict=True):
        yield Batch(split, images[chosen], labels[chosen], dataset)

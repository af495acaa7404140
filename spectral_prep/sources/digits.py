"""scikit-learn's bundled digits: 1797 images of 8×8, the set that needs no file and no download."""

from __future__ import annotations

import string
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spectral_prep.places.url import Place
from spectral_prep.sources.arrays import ArraySource, Batch, ClassNames, stage
from spectral_prep.sources.interface import SPLITS

TEST_EVERY = 5
LARGEST_GREY = 16
FILE = "datasets/data/digits.csv.gz"
"""Where scikit-learn has them; should it put them elsewhere, it is asked."""


def open_digits(dataset: str, path: Place, staging: Path) -> ArraySource:
    """Open the digits; `path` is not used.

    The grey levels 0..16 become round(v·255/16). scikit-learn has no split: every fifth row, counted from the fifth, is
    a test row (359 of 1797), the others are training rows, both in scikit-learn's order.
    """
    return stage({split: split for split in SPLITS}, 10, _content(dataset), staging)


def _content(dataset: str) -> Iterator[Batch | ClassNames]:
    table = _table()
    images = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / LARGEST_GREY)).astype(np.uint8)[..., None]
    labels = table[:, -1].astype(np.int64)
    test = np.arange(len(labels)) % TEST_EVERY == TEST_EVERY - 1
    yield ClassNames(tuple(string.digits))
    for split, chosen in zip(SPLITS, (~test, test), strict=True):
        yield Batch(split, images[chosen], labels[chosen], dataset)


def _table() -> npt.NDArray[np.float64]:
    """Return an image's 64 grey levels and its label a row: scikit-learn's file, as importing it takes two seconds."""
    package = find_spec("sklearn")
    folders = package.submodule_search_locations or () if package else ()
    for file in (Path(folder, FILE) for folder in folders):
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    return np.column_stack(load_digits(return_X_y=True))

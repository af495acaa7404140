"""Seeded samples of rows: what is looked at instead of everything, the same for equal sources.

Input: a source and how many rows. Output: their ids, or all that reading them takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from spectral_prep.sources.interface import RowIndex, Source


def sample_ids(source: Source, rows: int, count: int, seed: int) -> npt.NDArray[np.int32]:
    """Return the ids of a seeded sample of a split's rows, ascending; the first ones where rows come in one order only.

    A source without random access would have to be read to its end for any other sample.
    """
    if not source.random_access:
        return np.arange(min(rows, count), dtype=np.int32)
    return np.sort(np.random.RandomState(seed).permutation(rows)[:count]).astype(np.int32)


def training_sample(
    source: Source, index: Mapping[str, RowIndex], count: int, seed: int
) -> Sequence[tuple[str, int, str]]:
    """Return (split, row id, name) of a seeded sample of training rows: what `source.read` takes."""
    names = index["train"].names
    return [("train", int(i), names[int(i)]) for i in sample_ids(source, len(names), count, seed)]

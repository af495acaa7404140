"""Seeded draws that keep the share of each class.

Input: labels, and how many rows are wanted. Output: which rows. The streams are those of `numpy.random.RandomState`,
which are frozen (NEP 19): a draw outlives numpy's versions.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def shares(sizes: npt.NDArray[np.integer], wanted: int) -> Counts:
    """Return how many of each stratum to draw, (n,), `wanted` in all: its share, and at least one where possible.

    Of more strata than are wanted the first get one each.

    >>> shares(np.array([50, 30, 20]), 10).tolist(), shares(np.array([98, 1, 1]), 10).tolist()
    ([5, 3, 2], [8, 1, 1])
    >>> shares(np.array([5, 0, 5, 5]), 2).tolist()
    [1, 0, 1, 0]
    """
    exact = sizes * (wanted / max(1, int(sizes.sum())))
    counts: Counts = np.minimum(np.maximum(np.floor(exact + 1e-9), 1), sizes).astype(np.int64)
    while excess := int(counts.sum()) - wanted:
        free = np.flatnonzero(counts > 1 if excess > 0 else counts < sizes)
        if not free.size:
            counts[np.flatnonzero(counts)[wanted:]] = 0
            break
        lacking = exact[free] - counts[free]
        order = np.argsort(lacking if excess > 0 else -lacking, kind="stable")
        counts[free[order[: abs(excess)]]] -= np.sign(excess)
    return counts


def drawn(labels: npt.NDArray[np.integer], counts: Counts, seed: int) -> npt.NDArray[np.int64]:
    """Return the places of the rows that are drawn, ascending: `counts[c]` of class c.

    >>> drawn(np.array([0, 1, 0, 1]), np.array([2, 1]), seed=0).tolist()
    [0, 2, 3]
    """
    order = np.random.RandomState(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    return np.sort(order[_within(labels[order]) < counts[labels[order]]])


def set_apart(groups: npt.NDArray[np.integer], labels: npt.NDArray[np.integer], fraction: float, seed: int) -> Mask:
    """Return which rows are test rows, (n,): about `fraction` of each class, whole groups of related rows.

    At least one group of each class that has two, and never all of them. A group is of the class of its first row.

    >>> set_apart(np.array([0, 0, 1, 2, 3, 4]), np.array([0, 0, 0, 0, 1, 1]), 0.25, seed=0).tolist()
    [False, False, True, False, True, False]
    """
    _, first, inverse, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    of_class = labels[first]
    rows = np.bincount(labels)
    wanted = np.maximum(1, np.rint(fraction * rows))[of_class]
    shuffled = np.random.RandomState(seed).permutation(len(first))
    order = np.lexsort((shuffled, np.where(sizes > wanted, sizes, 0), of_class))  # too large groups last
    place = _within(of_class[order])
    sums = np.cumsum(sizes[order])
    begun = np.concatenate([[0], sums])[np.arange(len(order)) - place]
    several = np.bincount(of_class)[of_class[order]] > 1
    last = place + 1 == np.bincount(of_class)[of_class[order]]
    chosen = np.zeros(len(first), np.bool_)
    chosen[order] = several & ((sums - begun <= wanted[order]) | (place == 0)) & ~last
    apart: Mask = chosen[inverse.reshape(-1)]
    return apart


def _within(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Return the place of each row among those of its label, for labels that ascend."""
    places = np.arange(len(labels))
    return places - np.searchsorted(labels, labels, side="left")

"""In which order an epoch visits its rows, and which rows those are.

Input: the positions of rows, ascending, and a seed. Output: an order. Everything here is a pure function on a few
bytes a row; nothing reads a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spectral_train.seeds import derive_seed

Positions = npt.NDArray[np.int32]
"""Places of rows in a split, (n,) int32, ascending."""


def order_seed(identity: str, seed: int, epoch: int) -> int:
    """Return the seed of the order in which an epoch visits the rows of this identity."""
    return derive_seed(seed, "order", identity, epoch)


def positions_of(views: Sequence[Positions], epoch: int) -> Positions:
    """Return the positions that an epoch visits: one view of every image, the views in turn."""
    return views[epoch % len(views)]


def by_view(mask: npt.NDArray[np.bool_], views: int) -> tuple[Positions, ...]:
    """Return where the mask (N,) is true, for each view: the split holds the rows of view after view.

    >>> [positions.tolist() for positions in by_view(np.array([True, False, True, True]), 2)]
    [[0], [2, 3]]
    """
    rows = max(1, len(mask) // views)
    return tuple(
        (number * rows + np.flatnonzero(mask[number * rows : (number + 1) * rows])).astype(np.int32)
        for number in range(views)
    )


def shuffled(positions: Positions, seed: int) -> Positions:
    """Return these positions in the order of a seed: an exact permutation.

    >>> order = shuffled(np.arange(100, dtype=np.int32), seed=0)
    >>> bool((order == shuffled(np.arange(100, dtype=np.int32), seed=0)).all()), sorted(order)[-1].item()
    (True, 99)
    """
    order = positions.copy()
    np.random.default_rng(seed).shuffle(order)
    return order


@dataclass(frozen=True)
class Piece:
    """Rows `start` to `stop`, which are read at once, and the positions among them that are wanted."""

    start: int
    stop: int
    wanted: Positions


@dataclass(frozen=True)
class GroupPlan:
    """Pieces that are in memory together; `index` (n,) is the order of their wanted rows, as they were read."""

    pieces: tuple[Piece, ...]
    index: npt.NDArray[np.int64]

    @property
    def positions(self) -> Positions:
        """The wanted rows as they are read."""
        return np.concatenate([piece.wanted for piece in self.pieces])


def group_plans(
    positions: Positions, pieces: Sequence[slice], group_rows: int, seed: int | None, skip: int = 0
) -> Iterator[GroupPlan]:
    """Yield what to read, group after group, and the order of the rows within each.

    The pieces come in a seeded order and fill groups of at most `group_rows` wanted rows (a piece with more is a group
    of its own); a group's rows are shuffled. Without a seed everything keeps its place. The first `skip` rows are left
    out, and groups that hold nothing else are not read.

    >>> plans = list(group_plans(np.arange(10, dtype=np.int32), [slice(0, 4), slice(4, 8), slice(8, 10)], 6, seed=None))
    >>> [plan.positions.tolist() for plan in plans]
    [[0, 1, 2, 3], [4, 5, 6, 7, 8, 9]]
    """
    wanted = np.split(positions, np.searchsorted(positions, [piece.start for piece in pieces[1:]]))
    all_pieces = [Piece(rows.start, rows.stop, those) for rows, those in zip(pieces, wanted, strict=True) if len(those)]
    if seed is not None:
        all_pieces = [all_pieces[number] for number in np.random.default_rng(seed).permutation(len(all_pieces))]
    for number, members in enumerate(_filled(all_pieces, group_rows)):
        rows = sum(len(piece.wanted) for piece in members)
        if skip < rows:
            index = np.arange(rows)
            if seed is not None:
                np.random.default_rng(derive_seed(seed, "group", number)).shuffle(index)
            yield GroupPlan(tuple(members), index[skip:])
        skip = max(0, skip - rows)


def _filled(pieces: Sequence[Piece], group_rows: int) -> Iterator[list[Piece]]:
    members: list[Piece] = []
    rows = 0
    for piece in pieces:
        if members and rows + len(piece.wanted) > group_rows:
            yield members
            members, rows = [], 0
        members.append(piece)
        rows += len(piece.wanted)
    if members:
        yield members

"""Rows in memory, and what every place of rows offers a loader: groups of rows in a seeded order.

Input: `Examples`, a split as stored (int8 stays int8), in RAM or on a GPU. Output: one group, all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from spectral_train.data.order import Positions, shuffled
from spectral_train.data.standardise import Standardisation


@dataclass(frozen=True)
class Group:
    """Rows in memory: `x` (m, C, h, w) as stored, `y` (m,) labels, and the `index` (n,) in which they are visited.

    `x` may be overwritten when the next group is asked for.
    """

    x: Tensor
    y: Tensor
    index: Tensor


class RowSource(Protocol):
    """Rows of one split, wherever they are: `Examples` or `streamed_rows.StreamedRows`.

    `identity` says which rows these are and how they are grouped: the order of an epoch follows from it, the seed and
    the epoch.
    """

    @property
    def y(self) -> Tensor:
        """(N,) integer labels of all rows with −1 for a bad row."""
        ...

    @property
    def standardise(self) -> Standardisation:
        """What turns stored values into what a network sees."""
        ...

    @property
    def identity(self) -> str:
        """A short text."""
        ...

    def groups(self, positions: Positions, seed: int | None = None, skip: int = 0) -> Iterator[Group]:
        """Yield the rows at these positions, in the order of a seed or, without one, as they come; leave out `skip`."""
        ...


@dataclass(frozen=True)
class Examples:
    """Rows in memory: `x` (N, C, h, w) as stored, `y` (N,) integer labels with −1 for a bad row; a `RowSource`."""

    x: Tensor
    y: Tensor
    standardise: Standardisation
    identity: str = ""

    def groups(self, positions: Positions, seed: int | None = None, skip: int = 0) -> Iterator[Group]:
        """Yield one group: an exact permutation of the positions."""
        order = positions if seed is None else shuffled(positions, seed)
        yield Group(self.x, self.y, torch.from_numpy(order[skip:]).to(self.x.device))

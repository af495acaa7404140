"""Where the rows that a network is trained and scored on come from, split by split.

Input: a shard and where its training rows were placed. Output: a `RowReader`. Labels come first, since what is held
out and what is good follows from them alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from spectral_train.data.placement import Placement, open_rows, placement
from spectral_train.data.rows import RowSource
from spectral_train.data.shard import Labels, Shard, read_labels


@dataclass(frozen=True)
class RowReader:
    """Where the rows of a split ("train", "test") come from: labels, then the rows themselves, given those labels."""

    labels: Callable[[str], Labels]
    examples: Callable[[str, Tensor], RowSource]


def row_reader(shard: Shard, device: torch.device, chosen: Placement) -> RowReader:
    """Return where the rows of a shard come from: training rows from where they were placed, others within its budget.

    Memory is looked at once: what was checked and said of the training rows is then what happens.
    """

    def examples(split: str, y: Tensor) -> RowSource:
        here = chosen if split == "train" else placement(shard, split, chosen.budget, device)
        return open_rows(shard, split, y, here, device)

    return RowReader(functools.partial(read_labels, shard.folders), examples)

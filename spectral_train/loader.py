"""From rows in memory to batches: the order and the noise are pure functions of (seed, epoch, step).

Goes in: `Examples`, rows as stored (int8 stays int8), and the positions to visit. Comes out: float32 standardised
batches on the device. One batch at a time is decoded; nothing the size of the shard is ever made beside it but the
order (4 bytes a row).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spectral_train.seeds import derive_seed
from spectral_train.standardise import Standardisation

BAD_ROW = -1
Positions = npt.NDArray[np.int32]
"""Places of rows in a shard, (n,) int32."""


@dataclass(frozen=True)
class Examples:
    """Rows in memory: `x` (N, C, h, w) as stored, `y` (N,) integer labels with −1 for a bad row."""

    x: Tensor
    y: Tensor
    standardise: Standardisation


@dataclass(frozen=True)
class Noise:
    """Additive Gaussian noise of deviation `std` in standardised units, drawn anew each (seed, epoch, step)."""

    std: float
    seed: int
    epoch: int

    def add(self, batch: Tensor, step: int) -> Tensor:
        """Return the batch with its noise added in place."""
        generator = torch.Generator(batch.device).manual_seed(derive_seed(self.seed, "noise", self.epoch, step))
        return batch.add_(torch.randn(batch.shape, generator=generator, device=batch.device), alpha=self.std)


def shuffled(positions: Positions, seed: int, epoch: int) -> Positions:
    """Return the order in which an epoch visits these positions: a pure function of (seed, epoch).

    >>> first = shuffled(np.arange(100, dtype=np.int32), seed=0, epoch=0)
    >>> bool((first == shuffled(np.arange(100, dtype=np.int32), seed=0, epoch=0)).all()), sorted(first)[-1].item()
    (True, 99)
    """
    order = positions.copy()
    np.random.default_rng(derive_seed(seed, "order", epoch)).shuffle(order)
    return order


def batches(
    examples: Examples,
    order: Positions,
    batch_size: int,
    device: torch.device | str = "cpu",
    noise: Noise | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (x, y): standardised float32 (n, C, h, w) and int64 (n,) on the device, n = batch_size but for the last.

    The order must not hold bad rows (`usable` leaves them out). Rows travel to the device as stored and are decoded
    there.

    >>> rows = Examples(torch.zeros(5, 1, 2, 2, dtype=torch.int8), torch.arange(5), Standardisation((1.0,), (0.0,)))
    >>> [len(y) for _, y in batches(rows, np.arange(5, dtype=np.int32), batch_size=2)]
    [2, 2, 1]
    """
    for step, start in enumerate(range(0, len(order), batch_size)):
        index = torch.from_numpy(order[start : start + batch_size])
        x = examples.standardise(examples.x.index_select(0, index).to(device))
        y = examples.y.index_select(0, index).to(device, torch.int64)
        yield (x if noise is None else noise.add(x, step)), y


def usable(labels: Tensor) -> npt.NDArray[np.bool_]:
    """Return which rows have an image, (N,) bool: those whose label is not −1."""
    return (labels != BAD_ROW).numpy()

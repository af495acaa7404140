"""From a stored value to what a network sees, in one multiplication and one addition a channel.

Input: values as stored, (N, C, h, w) int8, uint8, float16 or float32. Output: float32 with mean 0 and deviation 1
over the training rows. Decoding (value · scale_factor + add_offset) and standardising ((x − mean) / std) are one
affine map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Standardisation:
    """`scale` and `shift` (C,), so that standardised = stored · scale + shift.

    >>> to_unit = Standardisation.of(mean=[10.0], std=[4.0], scalars=[(2.0, 6.0)])
    >>> to_unit(torch.tensor([[[[2, 4]]]], dtype=torch.int8)).tolist()
    [[[[0.0, 1.0]]]]
    """

    scale: tuple[float, ...]
    shift: tuple[float, ...]

    @classmethod
    def of(
        cls, mean: Sequence[float], std: Sequence[float], scalars: Sequence[tuple[float, float]] | None = None
    ) -> Standardisation:
        """Combine the statistics of C channels, in grey levels, with their (scale_factor, add_offset); none is (1, 0).

        A channel that never varies (deviation 0) is only centred.
        """
        pairs = [(1.0, 0.0)] * len(mean) if scalars is None else scalars
        spread = [deviation if deviation > 0 else 1.0 for deviation in std]
        return cls(
            tuple(factor / s for (factor, _), s in zip(pairs, spread, strict=True)),
            tuple((offset - m) / s for (_, offset), m, s in zip(pairs, mean, spread, strict=True)),
        )

    def __call__(self, stored_NChw: Tensor) -> Tensor:
        """Return float32 of the same shape, on the same device."""
        device = stored_NChw.device
        scale, shift = (
            torch.tensor(numbers, dtype=torch.float32, device=device).view(1, -1, 1, 1)
            for numbers in (self.scale, self.shift)
        )
        # in place from the first pass on: a multiplication of two types makes a second float32 tensor
        return stored_NChw.to(torch.float32, copy=True).mul_(scale).add_(shift)

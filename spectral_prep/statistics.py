"""What is summed of every stored row as it passes: from these sums follow mean and standard deviation.

Goes in: the stored spectrum of some rows. Come out: its sums and sums of squares, exact, so that no order of addition,
no processor and no division into batches can change them.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from spectral_prep.encoding import LARGEST

_RUN = 2**24 // LARGEST**2
"""How many squares of int8 values float32 adds without rounding."""
_STEPS = (2**24, 2**16)
"""Floats and their squares are rounded to these fractions: float64 adds them exactly for up to two million pixels."""


def sums(stored_QNChw: Tensor) -> Tensor:
    """Return the sums and the sums of squares over n, h and w of the stored values, (2, Q, C) float64.

    Exact for int8; floats count to 2⁻²⁴, the finest step of float16, and their squares to 2⁻¹⁶.

    >>> sums(torch.full((1, 2, 1, 1, 3), -5, dtype=torch.int8)).flatten().tolist()
    [-30.0, 150.0]
    """
    q, _, c = stored_QNChw.shape[:3]
    values_QCn = stored_QNChw.transpose(1, 2).reshape(q, c, -1)
    if stored_QNChw.dtype == torch.int8:  # float32 is the fastest way to add bytes
        runs = values_QCn.float().view(q, c, -1, _run(values_QCn.shape[2]))
        return torch.stack([runs.sum(-1), runs.square_().sum(-1)]).sum(-1, dtype=torch.float64)
    exact = values_QCn.double()
    whole, squares = _STEPS
    return torch.stack(
        [
            (exact * whole).round_().sum(-1) / whole,
            exact.square_().mul_(squares).round_().sum(-1) / squares,
        ]
    )


@functools.cache
def _run(count: int) -> int:
    """Return the longest run of at most `_RUN` values that `count` values consist of."""
    return next(length for length in range(min(count, _RUN), 0, -1) if count % length == 0) if count else 1

"""What is summed of every stored row as it passes: from these sums follow mean and standard deviation.

Input: the stored spectrum of some rows. Output: its sums and sums of squares, exact, so that no order of addition,
no processor and no division into batches can change them, and how many of its values are out of range.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from spectral_prep.encoding import LARGEST
from spectral_prep.kernel import dispatch

_RUN = 2**24 // LARGEST**2
"""How many squares of int8 values float32 adds without rounding."""
_STEPS = (2**24, 2**16)
"""Floats and their squares are rounded to these fractions: float64 adds them exactly for up to two million pixels."""


def totals(stored_QNChw: Tensor) -> Tensor:
    """Return sums, sums of squares and how many are beyond the calibrated range, over n, h and w: (3, Q, C) float64.

    Exact for int8, where ±127 is beyond the range; floats count to 2⁻²⁴, the finest step of float16, their squares to
    2⁻¹⁶, and none is out of range.

    >>> totals(torch.tensor([[[[[-127, 2, 3]]]]], dtype=torch.int8)).flatten().tolist()
    [-122.0, 16142.0, 1.0]
    """
    if stored_QNChw.dtype != torch.int8:
        return _of_floats(_values(stored_QNChw))
    compiled = dispatch.compiled_for_cpu()
    return _of_int8(_values(stored_QNChw)) if compiled is None else compiled.totals(stored_QNChw).double()


def _values(stored_QNChw: Tensor) -> Tensor:
    q, _, c = stored_QNChw.shape[:3]
    return stored_QNChw.transpose(1, 2).reshape(q, c, -1)


def _of_int8(values_QCn: Tensor) -> Tensor:
    q, c, n = values_QCn.shape
    runs = values_QCn.float().view(q, c, -1, _run(n))  # float32 is the fastest way for torch to add bytes
    beyond = runs.abs() == LARGEST
    return torch.stack([runs.sum(-1), runs.square_().sum(-1), beyond.sum(-1)]).sum(-1, dtype=torch.float64)


def _of_floats(values_QCn: Tensor) -> Tensor:
    exact = values_QCn.double()
    whole, squares = _STEPS
    total = (exact * whole).round_().sum(-1) / whole
    return torch.stack([total, exact.square_().mul_(squares).round_().sum(-1) / squares, torch.zeros_like(total)])


@functools.cache
def _run(count: int) -> int:
    """Return the longest run of at most `_RUN` values that `count` values consist of."""
    return next(length for length in range(min(count, _RUN), 0, -1) if count % length == 0) if count else 1

"""What the kernels of `spectral.h` are called with: its numbers for names and dtypes, and the int8 factors.

Input: a spec, dtypes, an encoding. Output: integers and float32 numbers, as the header's top describes them.
"""

from __future__ import annotations

import functools

import torch

from spectral_prep.encoding import Encoding
from spectral_prep.errors import InputError

LAYOUTS = {"blocks": 0, "tiles": 1}
TRANSFORMS = {"dct": 0, "dct2": 1, "none": 2}
PIXELS = {torch.uint8: 0, torch.float32: 1}
STORED = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2, torch.int8: 3}


def number(dtype: torch.dtype, numbers: dict[torch.dtype, int], what: str) -> int:
    """Return the header's number of a dtype; raise `InputError` if the kernels have no `what` of it."""
    if dtype not in numbers:
        expected = ", ".join(str(known).removeprefix("torch.") for known in numbers)
        raise InputError(f"the kernel has no {what} of this dtype", expected=expected, got=dtype)
    return numbers[dtype]


@functools.lru_cache(maxsize=64)
def split_factors(encoding: Encoding | None) -> tuple[tuple[float, ...], ...]:
    """Return (multiplier, shift) of each spectral: stored = round(fmaf(coefficient, multiplier, shift)); () for floats.

    >>> split_factors(Encoding("int8", (2.0,), (1.0,)))
    ((0.5,), (-0.5,))
    """
    if encoding is None or not encoding.scale_factor:
        return ()
    pairs = tuple(zip(encoding.scale_factor, encoding.add_offset, strict=True))
    return tuple(1 / scale for scale, _ in pairs), tuple(-offset / scale for scale, offset in pairs)


def merge_factors(encoding: Encoding | None) -> tuple[tuple[float, ...], ...]:
    """Return (scale, offset) of each spectral: coefficient = fmaf(stored, scale, offset); () for floats."""
    if encoding is None or not encoding.scale_factor:
        return ()
    return encoding.scale_factor, encoding.add_offset

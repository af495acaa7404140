"""Files of tensors from anybody: how long their header is, before safetensors makes objects of it.

Input: a safetensors file. Output: nothing, or the error that safetensors itself would raise. It takes headers of 100
MB: a million tensors without a value are a gigabyte of memory.
"""

from __future__ import annotations

from pathlib import Path

import safetensors

from spectral_prep.system.regular import open_regular

LENGTH_BYTES = 8
LARGEST_HEADER = 4 << 20
"""Bytes: some 30,000 tensors."""


def require_short_header(path: Path, at_most: int = LARGEST_HEADER) -> None:
    """Raise `safetensors.SafetensorError` for a header of more bytes, and for what is no regular file."""
    try:
        with open_regular(path) as file:
            size = int.from_bytes(file.read(0, LENGTH_BYTES), "little")
    except ValueError as error:
        raise safetensors.SafetensorError(f"no file of tensors: {error}") from error
    if size > at_most:
        raise safetensors.SafetensorError(f"a header of {size} bytes, expected at most {at_most}")

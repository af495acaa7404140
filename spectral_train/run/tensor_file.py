"""Files of tensors from anybody: how long their header is, before safetensors makes objects of it.

Input: a safetensors file. Output: its path, or the error that names it. safetensors itself takes headers of 100 MB: a
million tensors without a value are a gigabyte of memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import safetensors

from spectral_prep.errors import CorruptFileError
from spectral_prep.places import on_disk
from spectral_prep.places.url import Place
from spectral_prep.system.regular import open_regular

LENGTH_BYTES = 8
LARGEST_HEADER = 4 << 20
"""Bytes: some 30,000 tensors."""


@contextlib.contextmanager
def readable(place: Place, what: str, run: str | None = None) -> Iterator[Path]:
    """Yield the path of a file of tensors to read from, whose header is short.

    Raises
    ------
    CorruptFileError
        If it cannot be read, also by what reads it meanwhile: `what` this means, and what to `run`.
    """
    try:
        path = on_disk(place)
        require_short_header(path)
        yield path
    except (safetensors.SafetensorError, OSError) as error:
        raise CorruptFileError(what, where=place, got=error, run=run) from error


def require_short_header(path: Path, at_most: int = LARGEST_HEADER) -> None:
    """Raise `safetensors.SafetensorError` for a header of more bytes, and for what is no regular file."""
    try:
        with open_regular(path) as file:
            size = int.from_bytes(file.read(0, LENGTH_BYTES), "little")
    except ValueError as error:
        raise safetensors.SafetensorError(f"no file of tensors: {error}") from error
    if size > at_most:
        raise safetensors.SafetensorError(f"a header of {size} bytes, expected at most {at_most}")

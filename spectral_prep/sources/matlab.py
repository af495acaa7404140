"""MATLAB files from anybody: inflated and looked through before scipy makes arrays of them.

Input: the bytes of a MAT-file, level 5. Output: its variables. On its own scipy takes what a file says: 2^28 cells in
200 bytes are an array of 2 GiB, and what inflates may hold what inflates.

After 128 bytes come elements: type and size, four bytes each, then the content; small ones have type, size and content
in eight bytes (https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf).
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from typing import Any, NamedTuple

HEADER_BYTES, TAG_BYTES = 128, 8
ARRAY, COMPRESSED = 14, 15
CELL, STRUCTURE = 1, 2
PLAIN = (4, *range(6, 16))
"""Texts and numbers of every kind; no sparse arrays, objects or functions."""

MOST_ARRAYS = 1 << 17
"""Of a file: ImageNet's list of classes has 15,000."""

DEEPEST = 16


class _Element(NamedTuple):
    """One element: its content is `start` … `end`, the next one begins at `next`."""

    kind: int
    start: int
    end: int
    next: int


def matlab_variables(content: bytes, at_most: int) -> dict[str, Any]:
    """Return the variables of a MATLAB file, arrays without dimensions of one.

    Raises
    ------
    ValueError
        If it holds more than so many bytes without compression, or arrays larger than what is there for them.
    Exception
        Whatever scipy meets in a damaged file.
    """
    from scipy.io import loadmat  # slow to import, and needed here only

    plain = inflated(content, at_most)
    _Walk(plain).variables()
    found: dict[str, Any] = loadmat(io.BytesIO(plain), squeeze_me=True)  # type: ignore[arg-type]
    return found


def inflated(content: bytes, at_most: int) -> bytes:
    """Return the same file without compression; raise `ValueError` for one that would be larger than so many bytes."""
    found, at, order = bytearray(content[:HEADER_BYTES]), HEADER_BYTES, _order(content)
    while at < len(content):
        kind, size = struct.unpack_from(f"{order}II", content, at)
        element = content[at : at + TAG_BYTES + size]
        if kind == COMPRESSED:
            element = zlib.decompressobj().decompress(element[TAG_BYTES:], at_most)
        found += element
        at += TAG_BYTES + size
        if len(found) >= at_most:
            raise ValueError(f"{at_most} bytes or more without compression")
    return bytes(found)


class _Walk:
    """Goes through all arrays of a file and counts them."""

    def __init__(self, content: bytes) -> None:
        self._content, self._order = content, _order(content)
        self._arrays = 0

    def variables(self) -> None:
        """Raise `ValueError` unless every variable is an array whose elements are there."""
        self._all_arrays(HEADER_BYTES, len(self._content), 0)

    def _all_arrays(self, at: int, end: int, depth: int) -> None:
        while at < end:
            element = self._element(at, end)
            self._arrays += 1
            if element.kind != ARRAY or depth > DEEPEST or self._arrays > MOST_ARRAYS:
                raise ValueError(f"an element of type {element.kind} at byte {at}, {depth} deep")
            if element.end > element.start:
                self._array(element, depth)
            at = element.next

    def _array(self, array: _Element, depth: int) -> None:
        flags = self._element(array.start, array.end)
        shape = self._element(flags.next, array.end)
        at = self._element(shape.next, array.end).next  # after its name
        kind = struct.unpack_from(f"{self._order}I", self._content, flags.start)[0] & 0xFF
        sides = struct.unpack_from(f"{self._order}{(shape.end - shape.start) // 4}i", self._content, shape.start)
        count = math.prod(sides) if min(sides, default=-1) >= 0 else -1
        if kind == STRUCTURE:
            width = self._element(at, array.end)
            names = self._element(width.next, array.end)
            at = names.next
            (longest,) = struct.unpack_from(f"{self._order}i", self._content, width.start)
            count *= max(1, (names.end - names.start) // max(1, longest))
        if kind in (CELL, STRUCTURE) and 0 <= count <= (array.end - at) // TAG_BYTES:
            self._all_arrays(at, array.end, depth + 1)
        elif kind not in PLAIN or not 0 <= count <= array.end - at:
            raise ValueError(f"an array of kind {kind} and shape {sides} in {array.end - at} bytes")

    def _element(self, at: int, end: int) -> _Element:
        if at + TAG_BYTES > end:
            raise ValueError(f"no element at byte {at}")
        kind, size = struct.unpack_from(f"{self._order}II", self._content, at)
        if kind >> 16:
            kind, size, start, after = kind & 0xFFFF, kind >> 16, at + 4, at + TAG_BYTES
        else:
            start = at + TAG_BYTES
            after = start + size + -size % TAG_BYTES
        if start + size > end:
            raise ValueError(f"an element of {size} bytes at byte {at}, which ends at byte {end}")
        return _Element(kind, start, start + size, after)


def _order(content: bytes) -> str:
    return "<" if content[126:128] == b"IM" else ">"

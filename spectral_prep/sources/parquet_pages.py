"""The pages of a Parquet column, looked at before pyarrow takes memory for them.

Input: a file, its metadata and a column. Output: the size of the largest page of a row group, uncompressed. pyarrow
takes whatever size a page states, some kB that inflate to 2 GiB, and gives back as many copies of a value as its rows.

A page is a header and its bytes, one after the other. The header is Thrift's compact protocol
(https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md), of which the first three fields
matter: type, size without and with compression (https://parquet.apache.org/docs/file-format/data-pages/).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from spectral_prep.errors import CorruptSourceError
from spectral_prep.places import at
from spectral_prep.places.url import Place
from spectral_prep.sources.opening import BEST_RATIO, PLENTY, opened

LONGEST_HEADER = 1 << 16
ROW_BYTES = 8
"""Of a file for each row, at least: no image takes less, and rows of nothing are counted by the million in a few kB."""

DEEPEST = 8
BOOLEANS, BYTE, INTEGERS, DOUBLE, TEXT, LISTS, MAP, STRUCT = (1, 2), 3, (4, 5, 6), 7, 8, (9, 10), 11, 12
UNPACKED, PACKED = 2, 3


def require_room(path: Place, metadata: Any) -> None:
    """Raise `CorruptSourceError` if a file states more rows than there is room for."""
    size = at(path).size() or 0
    if metadata.num_rows * ROW_BYTES > size:
        raise CorruptSourceError(
            "more rows than a file has room for",
            where=path,
            expected=f"at most {size // ROW_BYTES} in {size} bytes",
            got=metadata.num_rows,
        )


def largest_page(path: Place, metadata: Any, group: int, column: str) -> int:
    """Return the bytes, without compression, of the largest page of a column in a row group.

    Raises
    ------
    CorruptSourceError
        If a page states more than images ever take, or is none.
    """
    chunks = (metadata.row_group(group).column(number) for number in range(metadata.num_columns))
    chunk = next(each for each in chunks if each.path_in_schema == column)
    first = [start for start in (chunk.dictionary_page_offset, chunk.data_page_offset) if start]
    largest = 0
    for unpacked, packed in _pages(path, min(first, default=0), chunk.total_compressed_size):
        if unpacked < 0 or unpacked > max(PLENTY, BEST_RATIO * packed):
            raise CorruptSourceError(
                "a Parquet page that is larger than images are", where=path, got=f"{packed} bytes for {unpacked}"
            )
        largest = max(largest, unpacked)
    return largest


def _pages(path: Place, start: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the sizes of each page without and with compression."""
    end = start + size
    with opened(path) as file:
        while start < end:
            file.seek(start)
            header = _Header(file.read(LONGEST_HEADER))
            try:
                header.struct()
                unpacked, packed = header.found[UNPACKED], header.found[PACKED]
            except (IndexError, KeyError, ValueError) as error:
                raise CorruptSourceError("truncated or damaged Parquet file", where=path, got=error) from error
            if packed < 0:
                raise CorruptSourceError("truncated or damaged Parquet file", where=path, got=f"{packed} bytes")
            yield unpacked, packed
            start += header.at + packed


class _Header:
    """A header while it is read: `found` are the numbers of its own fields, `at` is where it ends."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.at = 0
        self.found: dict[int, int] = {}

    def struct(self, depth: int = 0) -> None:
        """Read a struct to its end; ValueError, IndexError if it is none."""
        field = 0
        while start := self._byte():
            field = field + (start >> 4) if start >> 4 else self._number()
            value = self._value(start & 15, depth)
            if depth == 0 and value is not None:
                self.found[field] = value

    def _value(self, kind: int, depth: int) -> int | None:
        if kind in INTEGERS:
            return self._number()
        if kind == STRUCT and depth < DEEPEST:
            self.struct(depth + 1)
        elif kind in (BYTE, DOUBLE, TEXT):
            length = {BYTE: 1, DOUBLE: 8}.get(kind) or self._varint()  # which moves on
            self.at += length
        elif kind in LISTS and depth < DEEPEST:
            start = self._byte()
            for _ in range(start >> 4 if start >> 4 < 15 else self._varint()):
                self._value(start & 15 if start & 15 not in BOOLEANS else BYTE, depth + 1)
        elif kind not in BOOLEANS:
            raise ValueError(f"a field of type {kind}")
        return None

    def _byte(self) -> int:
        self.at += 1
        return self._content[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while shift < 64:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        raise ValueError("a number without an end")

    def _number(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)

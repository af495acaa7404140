r"""Many names in little memory: one run of bytes and where each name ends, instead of a Python string a row.

14 million names of 30 bytes take 0.5 GB so, and 1.2 GB as a list of strings.

This is the door where the bytes of a name become text. Names of files are bytes, and those in old archives are often
no UTF-8: each byte that is none becomes `\xNN`, and a backslash `\\`, so that there is a way back. All other names
stay as they are, and every name is valid Unicode in records, cards and messages.
"""

from __future__ import annotations

import codecs
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

NAMES_AT_ONCE = 1 << 14
_ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|\\)")


class LazyNames(Sequence[str]):
    """Read-only names that are made when they are asked for, thousands at a time by `some`."""

    @abstractmethod
    def some(self, rows: npt.NDArray[np.integer]) -> list[str]:
        """Return the names of rows (n,)."""

    @overload
    def __getitem__(self, row: int) -> str: ...

    @overload
    def __getitem__(self, row: slice) -> list[str]: ...

    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return self.some(np.arange(*row.indices(len(self))))
        return self.some(np.array([range(len(self))[row]]))[0]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), NAMES_AT_ONCE):
            yield from self[start : start + NAMES_AT_ONCE]


@dataclass(frozen=True, eq=False)
class Names(LazyNames):
    """Read-only names: name i is `text[ends[i - 1]:ends[i]]`, as UTF-8.

    >>> names = Names(np.frombuffer("1.JPEGé.png".encode(), np.uint8), np.array([6, 12]))
    >>> len(names), names[1], list(names[:1])
    (2, 'é.png', ['1.JPEG'])
    """

    text: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ends)

    def some(self, rows: npt.NDArray[np.integer]) -> list[str]:
        """Return the names of rows (n,), several times as fast as one by one."""
        ends = self.ends[rows]
        starts = np.where(rows > 0, self.ends[rows - 1], 0)
        lengths = ends - starts
        last = np.cumsum(lengths)
        first = last - lengths
        within = np.arange(last[-1] if len(last) else 0)
        within += np.repeat(starts - first, lengths)
        gathered = self.text[within].tobytes()
        bounds = zip(first.tolist(), last.tolist(), strict=True)
        if gathered.isascii() and b"\\" not in gathered:
            text = gathered.decode("ascii")
            return [text[start:end] for start, end in bounds]
        return [decode(gathered[start:end]) for start, end in bounds]


def some(names: Sequence[str], rows: npt.NDArray[np.integer]) -> list[str]:
    """Return the names of rows (n,) of any list of names."""
    return names.some(rows) if isinstance(names, LazyNames) else [names[row] for row in rows.tolist()]


def encode(name: str) -> bytes:
    """Return the bytes of a name as Python's own calls give it, or as it stands in JSON (which may hold anything)."""
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass")


def decode(name: bytes) -> str:
    r"""Return the text that stands for a name of these bytes.

    >>> decode(b"caf\xe9"), decode("café".encode()), decode(b"a\\b")
    ('caf\\xe9', 'café', 'a\\\\b')
    """
    return name.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def text_lines(content: bytes) -> list[str]:
    r"""Return the lines of a list of names, stripped: UTF-8, or UTF-16 if it begins with its mark.

    Bytes of any other encoding are escaped, as those of file names are.

    >>> text_lines(b"\xef\xbb\xbfcat\r\ndog\n"), text_lines("cat\ndog".encode("utf-16")), text_lines(b"caf\xe9")
    (['cat', 'dog'], ['cat', 'dog'], ['caf\\xe9'])
    """
    return [decode(line.strip()) for line in utf8(content).splitlines()]


def utf8(content: bytes) -> bytes:
    """Return a text as UTF-8 and without a byte-order mark; what has another encoding and does not say so stays."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace").encode("utf-8", "replace")
    return content.removeprefix(codecs.BOM_UTF8)


def text_of(name: str) -> str:
    """Return the text that stands for a name as Python's own calls give it."""
    return decode(encode(name))


def bytes_of(text: str) -> bytes:
    r"""Return the bytes of the name that a text stands for: the way back.

    >>> bytes_of(decode(b"caf\xe9 \\xe9")) == b"caf\xe9 \\xe9"
    True
    """
    return _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()) if found[1] else b"\\", text.encode())

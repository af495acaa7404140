"""Many names in little memory: one run of bytes and where each name ends, instead of a Python string a row.

14 million names of 30 bytes take 0.5 GB so, and 1.2 GB as a list of strings. Names that are no UTF-8 keep their bytes
(surrogateescape, as the operating system's own calls give them).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Names(Sequence[str]):
    """Read-only names: name i is `text[ends[i - 1]:ends[i]]`, as UTF-8.

    >>> names = Names(np.frombuffer("1.JPEGé.png".encode(), np.uint8), np.array([6, 12]))
    >>> len(names), names[1], list(names[:1])
    (2, 'é.png', ['1.JPEG'])
    """

    text: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, row: int) -> str: ...

    @overload
    def __getitem__(self, row: slice) -> list[str]: ...

    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[place] for place in range(*row.indices(len(self)))]
        end = int(self.ends[row])
        place = row if row >= 0 else row + len(self)
        return decode(self.text[int(self.ends[place - 1]) if place else 0 : end].tobytes())

    def __iter__(self) -> Iterator[str]:
        start = 0
        for end in self.ends:
            yield decode(self.text[start:end].tobytes())
            start = end


def encode(name: str) -> bytes:
    """Return the bytes of a name."""
    return name.encode("utf-8", "surrogateescape")


def decode(name: bytes) -> str:
    r"""Return the name that these bytes are.

    >>> decode(b"\xff.png").encode("utf-8", "surrogateescape")
    b'\xff.png'
    """
    return name.decode("utf-8", "surrogateescape")

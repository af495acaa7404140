"""Which images of a split belong together, so that a test set holds none that a network was trained on.

Input: rows of a source. Output: a group for each. Two rows are of one group if their files have one name but for the
extension, in one class ("a.jpg" and "a.png"), or one content, whatever their names; and so on from row to row.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import numpy.typing as npt

from spectral_prep.errors import CorruptSourceError
from spectral_prep.sources.interface import Images, RawImage, RowIndex, Source
from spectral_prep.sources.name_list import some
from spectral_prep.sources.opening import EXTENSIONS
from spectral_prep.sources.read_ahead import raw_images
from spectral_prep.system.watch import counted

ROWS_AT_ONCE, ROWS_A_THREAD = 4096, 64
KEY_BYTES = 8
"""Of a hash: among 14 million rows two are equal by chance once in 180,000 times, and then are one group too many."""


def related_rows(
    source: Source, split: str, rows: RowIndex, ids: npt.NDArray[np.int32], threads: int
) -> npt.NDArray[np.integer]:
    """Return the number of the group of each of these rows, (n,); each image is read once, a bad one has no content.

    So many threads read; a source without random access is read by one.

    Raises
    ------
    InputError, StorageError
        As reading does, for what is no fault of a row.
    """
    stems, contents = np.empty(len(ids), np.uint64), np.empty(len(ids), np.uint64)
    found = enumerate(_keys(source, split, rows, ids, threads if source.random_access else 1))
    for place, (of_name, of_content) in counted(found, "looking for duplicates", "images", len(ids)):
        stems[place], contents[place] = of_name, of_content
    return _components(stems, contents)


def _keys(
    source: Source, split: str, rows: RowIndex, ids: npt.NDArray[np.int32], threads: int
) -> Iterator[tuple[int, int]]:
    """Yield a hash of the name and one of the content of each row.

    Hashing and reading leave the interpreter to others.
    """
    with ThreadPoolExecutor(threads, "duplicates") as pool:
        for start in range(0, len(ids), ROWS_AT_ONCE):
            own = ids[start : start + ROWS_AT_ONCE]
            images, names = source.for_rows(split, own), some(rows.names, own)
            named = list(zip(own.tolist(), names, strict=True))
            pieces = [named[first : first + ROWS_A_THREAD] for first in range(0, len(named), ROWS_A_THREAD)]
            contents = itertools.chain.from_iterable(pool.map(partial(_contents, images, split), pieces))
            for (row, name), content in zip(named, contents, strict=True):
                yield key(f"{rows.labels[row]}/{stem(name)}".encode()), content


def _contents(images: Images, split: str, named: Sequence[tuple[int, str]]) -> list[int]:
    raws = zip(raw_images(images, split, named), named, strict=True)
    return [key(_content(raw, name)) for raw, (_, name) in raws]


def stem(name: str) -> str:
    """Return what files of one image have in common; the whole name of a row that is no file.

    >>> stem("cat/2024/IMG_7.jpg"), stem("cat/IMG_7.PNG"), stem("part.npz#7")
    ('IMG_7', 'IMG_7', 'part.npz#7')
    """
    base, extension = os.path.splitext(name.rpartition("/")[2])
    return base if extension.lower() in EXTENSIONS else name


def key(content: bytes) -> int:
    """Return a hash that equal contents share."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=KEY_BYTES).digest(), "little")


def _content(raw: RawImage | CorruptSourceError, name: str) -> bytes:
    if isinstance(raw, CorruptSourceError):
        return name.encode()
    return raw if isinstance(raw, bytes) else raw.tobytes()


def _components(*keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.integer]:
    """Return the number of the connected component of each row, where rows that share a key are connected."""
    from scipy.sparse import coo_array  # slow to import, and needed here only
    from scipy.sparse.csgraph import connected_components

    count = len(keys[0])
    ends, total = [], count
    for each in keys:
        unique, inverse = np.unique(each, return_inverse=True)
        ends.append(inverse.reshape(-1) + total)
        total += len(unique)
    rows = np.tile(np.arange(count), len(keys))
    graph = coo_array((np.ones(len(rows), np.int8), (rows, np.concatenate(ends))), shape=(total, total))
    numbers: npt.NDArray[np.integer] = connected_components(graph, directed=False)[1][:count]
    return numbers

"""The raw images of many rows, one after the other: those of a bucket many at a time, and before they are wanted.

Input: a source and its rows. Output: for each row its raw image, or the error that makes it a bad one. A disk answers
in no time; a bucket takes some ten milliseconds a request, whose number therefore counts more than their bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from spectral_prep.errors import CorruptSourceError
from spectral_prep.sources.image_files import EncodedSource
from spectral_prep.sources.interface import RawImage, Source

ROWS_AT_ONCE = 64


def raw_images(source: Source, split: str, rows: Sequence[tuple[int, str]]) -> Iterator[RawImage | CorruptSourceError]:
    """Yield the raw image of each row (row id, name), or why it is bad; raises what `Source.read` raises else."""
    if isinstance(source, EncodedSource) and source.remote(split):
        yield from _ahead(source, split, rows)
        return
    for row_id, name in rows:
        try:
            yield source.read(split, row_id, name)
        except CorruptSourceError as error:
            yield error


def _ahead(
    source: EncodedSource, split: str, rows: Sequence[tuple[int, str]]
) -> Iterator[RawImage | CorruptSourceError]:
    """Yield the rows of one request after the other, while the next one is under way."""
    groups = [rows[start : start + ROWS_AT_ONCE] for start in range(0, len(rows), ROWS_AT_ONCE)]
    with ThreadPoolExecutor(1, "read ahead") as thread:
        coming = [thread.submit(source.read_many, split, group) for group in groups[:1]]
        for following in (*groups[1:], None):
            found = coming.pop().result()
            if following is not None:
                coming.append(thread.submit(source.read_many, split, following))
            yield from found

"""The raw images of many rows, one after the other: those of a bucket many at a time, and before they are wanted.

Input: what reads images, and rows. Output: for each row its raw image, or the error that makes it a bad one. A disk
answers in no time; a bucket takes some ten milliseconds a request, whose number counts more than their bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from spectral_prep.errors import CorruptSourceError
from spectral_prep.sources.arrays import ArraySource
from spectral_prep.sources.image_files import ManyReader, SplitImages
from spectral_prep.sources.interface import Images, RawImage
from spectral_prep.sources.selected_images import SelectedImages

ROWS_AT_ONCE = 64


def raw_images(images: Images, split: str, rows: Sequence[tuple[int, str]]) -> Iterator[RawImage | CorruptSourceError]:
    """Yield the raw image of each row (row id, name), or why it is bad; raises what `Images.read` raises else."""
    if isinstance(images, SelectedImages):
        whole = [(images.whole_id(row_id), name) for row_id, name in rows]
        yield from raw_images(images.images, images.split, whole)
        return
    if isinstance(images, SplitImages) and isinstance(images.reader, ManyReader):
        yield from _ahead(images, rows)
        return
    if isinstance(images, ArraySource):
        yield from images.read_each(split, rows)
        return
    for row_id, name in rows:
        try:
            yield images.read(split, row_id, name)
        except CorruptSourceError as error:
            yield error


def _ahead(images: SplitImages, rows: Sequence[tuple[int, str]]) -> Iterator[RawImage | CorruptSourceError]:
    """Yield the rows of one request after the other, while the next one is under way."""
    groups = [rows[start : start + ROWS_AT_ONCE] for start in range(0, len(rows), ROWS_AT_ONCE)]
    with ThreadPoolExecutor(1, "read ahead") as thread:
        coming = [thread.submit(images.read_many, group) for group in groups[:1]]
        for following in (*groups[1:], None):
            found = coming.pop().result()
            if following is not None:
                coming.append(thread.submit(images.read_many, following))
            yield from found

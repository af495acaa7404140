"""Members of tars read by their places, and the archive noticed that has changed since it was indexed.

Input: where rows are, looked up in scratch files (`StagedLocations`) or, in a worker, in what came with its rows
(`CarriedLocations`). Output: their bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from spectral_prep.errors import CorruptSourceError
from spectral_prep.places.url import Url
from spectral_prep.sources.archive import ARCHIVES_AT_ONCE, Archive
from spectral_prep.sources.locations import Locations, StagedLocations
from spectral_prep.sources.row_table import StagedRows


@dataclass(frozen=True)
class TarReader:
    """Reads the rows of one split from archives, in any order."""

    random_access: ClassVar[bool] = True  # a seek a row
    needs_scratch: ClassVar[bool] = False  # a worker gets where its rows are

    locations: Locations

    @classmethod
    def over(cls, rows: StagedRows, archives: Sequence[Archive]) -> TarReader:
        """Return a reader, after putting the list of archives beside the rows."""
        return cls.of(StagedLocations.over(rows, archives), archives)

    @classmethod
    def of(cls, locations: Locations, archives: Sequence[Archive]) -> TarReader:
        """Return a reader of rows at these locations; in a bucket one that reads many at a time."""
        in_bucket = any(isinstance(archive.place, Url) for archive in archives)
        return (BucketTarReader if in_bucket else cls)(locations)

    def for_rows(self, ids: npt.NDArray[np.int32]) -> TarReader:
        """Return what reads these rows."""
        return type(self)(self.locations.for_rows(ids))

    def read(self, row_id: int, name: str) -> bytes:
        """Return the bytes of one row's member."""
        archive, offset, size = self.locations.of(row_id)
        return archive.read(offset, size)


class BucketTarReader(TarReader):
    """The same from a bucket, many rows at a time; a `ManyReader`."""

    def read_many(self, rows: Sequence[tuple[int, str]]) -> list[bytes | CorruptSourceError]:
        """Return the bytes of the rows' members: neighbours by one request, others at the same time."""
        wanted: dict[Archive, list[int]] = {}
        places = [self.locations.of(row_id) for row_id, _ in rows]
        for number, place in enumerate(places):
            wanted.setdefault(place.archive, []).append(number)
        found: dict[int, bytes] = {}
        with ThreadPoolExecutor(ARCHIVES_AT_ONCE) as pool:
            jobs = {
                pool.submit(archive.read_many, [places[number][1:] for number in numbers]): numbers
                for archive, numbers in wanted.items()
            }
            for job, numbers in jobs.items():
                found |= zip(numbers, job.result(), strict=True)
        return [found[number] for number in range(len(rows))]

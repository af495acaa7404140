"""What reads the rows of a split, as a record that another process can make the same of.

Input: the reader of a split. Output: a `Description`, and back: with the spans of some rows what reads these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spectral_prep.places.url import place_of
from spectral_prep.sources.archive import Archive
from spectral_prep.sources.folder import FolderReader
from spectral_prep.sources.image_files import EncodedSource, Reader, SplitImages
from spectral_prep.sources.interface import Source
from spectral_prep.sources.locations import CarriedLocations, StagedLocations
from spectral_prep.sources.selection import SelectedSource
from spectral_prep.sources.tar_reader import TarReader


@dataclass(frozen=True)
class Description:
    """Where the rows of a split are: in archives, each (path, bytes, ns of its last change), or below `folder`."""

    archives: tuple[tuple[str, int, int], ...] = ()
    folder: str | None = None
    flat: bool = False

    def images(self, ids: npt.NDArray[np.int32], spans: npt.NDArray[Any]) -> SplitImages:
        """Return what reads these rows, (n,) ids and spans, wherever it is sent."""
        if self.folder is not None:
            return SplitImages(FolderReader.below(place_of(self.folder), flat=self.flat))
        unique, first = np.unique(ids, return_index=True)
        numbers, within = np.unique(spans["archive"][first], return_inverse=True)
        own = spans[first].copy()
        own["archive"] = within
        archives = tuple(Archive(*self.archives[number]) for number in numbers.tolist())
        return SplitImages(TarReader.of(CarriedLocations(unique, own, archives), archives))


def described(source: Source, split: str) -> Description | None:
    """Return what another process needs beside spans, None where it has to open the source itself."""
    if isinstance(source, SelectedSource):
        return described(source.source, source.picked[split].split)
    reader: Reader | None = source.reader(split) if isinstance(source, EncodedSource) else None
    if isinstance(reader, FolderReader):
        return Description(folder=str(reader.root), flat=reader.flat)
    if isinstance(reader, TarReader) and isinstance(reader.locations, StagedLocations):
        archives = reader.locations.archives
        return Description(tuple((each.path, each.size, each.changed_ns) for each in archives))
    return None


def spans_of(source: Source, split: str, ids: npt.NDArray[np.int32]) -> npt.NDArray[Any]:
    """Return where the rows with these ids are, (n,) of `row_table.SPAN`, of a source that `described` describes."""
    if isinstance(source, SelectedSource):
        picked = source.picked[split]
        return spans_of(source.source, picked.split, picked.ids[ids])
    if not isinstance(source, EncodedSource):
        raise TypeError("rows that lie nowhere")
    return source.staged(split).spans(ids)

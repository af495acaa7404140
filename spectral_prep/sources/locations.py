"""Where the rows of a split are in their archives: looked up in scratch files, or carried along with a task.

Input: the staged rows and the list of archives. Output: the archive, offset and size of a row. The process that opened
a source has scratch files (`StagedLocations`); a worker, perhaps on another machine, gets those of its own rows
(`CarriedLocations`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from spectral_prep.errors import InputError, StorageError
from spectral_prep.sources.archive import Archive
from spectral_prep.sources.row_table import StagedRows
from spectral_prep.system.files import explain
from spectral_prep.system.staging import SCRATCH

ARCHIVES = ".archives"


class Location(NamedTuple):
    """Where the bytes of a row are; a format may count something else than bytes."""

    archive: Archive
    offset: int
    size: int


class Locations(Protocol):
    """Where the rows of one split are."""

    def of(self, row_id: int) -> Location:
        """Return where one row is."""
        ...

    def for_rows(self, ids: npt.NDArray[np.int32]) -> Locations:
        """Return the locations of these rows alone, which need no scratch files."""
        ...


@dataclass(frozen=True)
class StagedLocations:
    """Where the rows of one split are, by the scratch files of the process that opened the source."""

    rows: StagedRows

    @classmethod
    def over(cls, rows: StagedRows, archives: Sequence[Archive]) -> StagedLocations:
        """Put the list of archives, which may be long, beside the rows whose spans count through it."""
        try:
            rows.path(ARCHIVES).write_text(json.dumps([[a.path, a.size, a.changed_ns] for a in archives]))
        except OSError as error:
            raise explain(error, rows.path(ARCHIVES), SCRATCH) from error
        return cls(rows)

    def of(self, row_id: int) -> Location:
        """Look up one row."""
        offset, size, number = self.rows.span(row_id)
        return Location(self.archives[number], offset, size)

    def for_rows(self, ids: npt.NDArray[np.int32]) -> CarriedLocations:
        """Look up these rows, and the archives that they are in."""
        unique = np.unique(ids)
        spans = self.rows.spans(unique)
        numbers, spans["archive"] = np.unique(spans["archive"], return_inverse=True)
        return CarriedLocations(unique, spans, tuple(self.archives[number] for number in numbers))

    @cached_property
    def archives(self) -> list[Archive]:
        """The archives, through which the spans count."""
        path = self.rows.path(ARCHIVES)
        try:
            return [Archive(*fields) for fields in json.loads(path.read_text())]
        except OSError as error:
            raise StorageError("cannot read the index back", where=path, got=error) from error

    def __reduce__(self) -> tuple[object, ...]:  # without the list: who needs it loads it
        return type(self), (self.rows,)


@dataclass(frozen=True, eq=False)
class CarriedLocations:
    """Where some rows are: 20 bytes a row, of ids (n,) that ascend and spans (n,), and the archives."""

    ids: npt.NDArray[np.int32]
    spans: npt.NDArray[Any]
    archives: tuple[Archive, ...]

    def of(self, row_id: int) -> Location:
        """Look up one row; raise `InputError` if it is none of these."""
        place = int(np.searchsorted(self.ids, row_id))
        if place == len(self.ids) or self.ids[place] != row_id:
            raise InputError(f"row {row_id} is none of those that came with this task")
        offset, size, number = self.spans[place].item()
        return Location(self.archives[number], offset, size)

    def for_rows(self, ids: npt.NDArray[np.int32]) -> CarriedLocations:
        """Return these locations."""
        return self

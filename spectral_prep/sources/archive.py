"""An archive that rows are read from in place: by ranges, and only as long as it is what it was when it was indexed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from spectral_prep.errors import InputError, StorageError
from spectral_prep.places import at
from spectral_prep.places.interface import State
from spectral_prep.places.url import Place, place_of
from spectral_prep.sources.opening import explained, not_regular

ARCHIVES_AT_ONCE = 16
"""That are looked at, indexed or read at the same time where they have to be waited for."""


@dataclass(frozen=True)
class Archive:
    """An archive, and what its size and time were when it was indexed."""

    path: str
    size: int
    changed_ns: int

    @classmethod
    def of(cls, path: Place) -> Archive:
        """Look at an archive."""
        with explained(path):
            try:
                found = at(path).state()
            except ValueError as error:
                raise not_regular(path) from error
        return cls(str(path), *found)

    @property
    def place(self) -> Place:
        """Where it is."""
        return place_of(self.path)

    @property
    def key(self) -> str:
        """A name for this archive in this state: 16 hexadecimal digits."""
        content = [self.place.name, self.size, self.changed_ns]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def read(self, offset: int, size: int) -> bytes:
        """Return some bytes of it.

        Raises
        ------
        InputError
            If it is gone or not what it was when it was indexed.
        StorageError
            If the disk fails.
        """
        return self.read_many([(offset, size)])[0]

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return several pieces, each (offset, size); raises as `read` does."""
        try:
            self.check()
            with at(self.place).open() as file:
                return file.read_ranges(ranges)
        except (FileNotFoundError, PermissionError) as error:
            raise InputError("cannot read a source file", where=self.path, got=error.strerror) from error
        except (ValueError, OSError) as error:
            raise StorageError("reading failed", where=self.path, got=error) from error

    def check(self) -> None:
        """Raise `InputError` unless the archive still has its size and time; one in a bucket is looked at once."""
        found = at(self.place).state() if isinstance(self.place, Path) else _state(self.path)
        if found != (self.size, self.changed_ns):
            raise InputError(
                "an archive has changed since it was indexed",
                where=self.path,
                expected=f"{self.size} bytes, the same time of change",
                got=f"{found.size} bytes",
                run="the same command, once the archive is whole and left alone",
            )


@cache
def _state(path: str) -> State:
    return at(place_of(path)).state()

"""Which folder of this machine holds copies of what lies in a bucket, and how large it may become.

Input: what the user says, or nothing. Output: a `Cache`. What is in it is `spectral_prep.store.cache`'s affair.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cache:
    """A folder for copies, and the bytes that all of them together may take.

    Parameters
    ----------
    root
        The folder; None: `SPECTRAL_CACHE` of the environment, or `spectral-shards` in the user's cache folder.
    most_bytes
        None: as much as the disk has free.
    """

    root: Path | None = None
    most_bytes: int | None = None

    @property
    def folder(self) -> Path:
        """The folder."""
        own = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return self.root or Path(os.environ.get("SPECTRAL_CACHE") or Path(own, "spectral-shards"))


DEFAULT_CACHE = Cache()

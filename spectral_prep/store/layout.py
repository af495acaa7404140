"""Every path of a converted data set, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

STAGING_PREFIX = ".staging-"
"""Of folders, in an unfinished data set, where a source without random access is unpacked."""


def spectral_name(k: int) -> str:
    """Return the folder name of spectral k.

    >>> spectral_name(3)
    'spectral-03'
    """
    return f"spectral-{k:02d}"


@dataclass(frozen=True)
class SpectralPaths:
    """Where things are inside one spectral folder, which may stand alone on a node."""

    root: Path

    @property
    def record(self) -> Path:
        """`spectral.json`."""
        return self.root / "spectral.json"

    def part(self, split: str, index: int) -> Path:
        """The Zarr shard object with the index-th block of rows of a split."""
        return self.root / split / "x" / "c" / str(index) / "0" / "0" / "0"


@dataclass(frozen=True)
class DatasetPaths:
    """Where things are inside a whole converted data set."""

    root: Path

    @property
    def plan(self) -> Path:
        """`plan.json`: written first, never again."""
        return self.root / "plan.json"

    @property
    def manifest(self) -> Path:
        """`manifest.json`: written last; its presence means complete."""
        return self.root / "manifest.json"

    @property
    def blocks(self) -> Path:
        """The folder of block records."""
        return self.root / "blocks"

    def block(self, number: int) -> Path:
        """The record of one finished block."""
        return self.blocks / f"{number:05d}.json"

    def rows(self, split: str) -> Path:
        """The row index of a split: line i holds [name, label] of the row with id i, as JSON."""
        return self.root / "rows" / f"{split}.jsonl"

    def spectral(self, k: int) -> SpectralPaths:
        """One spectral folder."""
        return SpectralPaths(self.root / spectral_name(k))

"""Every path of a converted data set, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spectral_prep.choices import Format
from spectral_prep.places import at, exists
from spectral_prep.places.url import Place
from spectral_prep.system.files import Advice

PARTS: Mapping[Format, str] = {"zarr": "{split}/x/c/{index}/0/0/0", "webdataset": "{split}-{index:05d}.tar"}

WRITING = Advice(
    full="free space, then the same command: finished blocks are kept",
    refused="the same command with --out in such a folder",
)
"""For the user whose data set cannot be written."""


def spectral_name(k: int) -> str:
    """Return the folder name of spectral k.

    >>> spectral_name(3)
    'spectral-03'
    """
    return f"spectral-{k:02d}"


@dataclass(frozen=True)
class SpectralPaths:
    """Where things are inside one spectral folder, which may stand alone on a node."""

    root: Place

    @property
    def record(self) -> Place:
        """`spectral.json`."""
        return self.root / "spectral.json"

    def part(self, split: str, index: int, format: Format) -> Place:
        """The file with the index-th block of rows of a split."""
        return self.root / PARTS[format].format(split=split, index=index)


@dataclass(frozen=True)
class DatasetPaths:
    """Where things are inside a whole converted data set."""

    root: Place

    @property
    def plan(self) -> Place:
        """`plan.json`: written first, never again."""
        return self.root / "plan.json"

    @property
    def manifest(self) -> Place:
        """`manifest.json`: written last; its presence means complete."""
        return self.root / "manifest.json"

    @property
    def card(self) -> Place:
        """`README.md`: the dataset card."""
        return self.root / "README.md"

    @property
    def blocks(self) -> Place:
        """The folder of block records."""
        return self.root / "blocks"

    def block(self, number: int) -> Place:
        """The record of one finished block."""
        return self.blocks / f"{number:05d}.json"

    def rows(self, split: str) -> Place:
        """The row index of a split: line i holds [name, label] of the row with id i, as JSON."""
        return self.root / "rows" / f"{split}.jsonl"

    def spectral(self, k: int) -> SpectralPaths:
        """One spectral folder."""
        return SpectralPaths(self.root / spectral_name(k))

    def spectrals(self) -> tuple[SpectralPaths, ...]:
        """The spectral folders that are here and have a record, ascending: all Q, or those that a node has."""
        names = [name for name in at(self.root).folders() if name.startswith("spectral-")]
        return tuple(paths for paths in (SpectralPaths(self.root / name) for name in names) if exists(paths.record))

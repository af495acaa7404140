"""Every path of a converted data set, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic

from spectral_prep.choices import Format
from spectral_prep.places import at, exists
from spectral_prep.places.url import P, inside
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
class SpectralPaths(Generic[P]):
    """Where things are inside one spectral folder, which may stand alone on a node."""

    root: P

    @property
    def record(self) -> P:
        """`spectral.json`."""
        return inside(self.root, "spectral.json")

    def part(self, split: str, index: int, format: Format) -> P:
        """The file with the index-th block of rows of a split."""
        return inside(self.root, PARTS[format].format(split=split, index=index))


@dataclass(frozen=True)
class DatasetPaths(Generic[P]):
    """Where things are inside a whole converted data set."""

    root: P

    @property
    def plan(self) -> P:
        """`plan.json`: written first, never again."""
        return inside(self.root, "plan.json")

    @property
    def manifest(self) -> P:
        """`manifest.json`: written last; its presence means complete."""
        return inside(self.root, "manifest.json")

    @property
    def card(self) -> P:
        """`README.md`: the dataset card."""
        return inside(self.root, "README.md")

    @property
    def blocks(self) -> P:
        """The folder of block records."""
        return inside(self.root, "blocks")

    def block(self, number: int) -> P:
        """The record of one finished block."""
        return inside(self.blocks, f"{number:05d}.json")

    def rows(self, split: str) -> P:
        """The row index of a split: line i holds [name, label] of the row with id i, as JSON."""
        return inside(self.root, f"rows/{split}.jsonl")

    def spectral(self, k: int) -> SpectralPaths[P]:
        """One spectral folder."""
        return SpectralPaths(inside(self.root, spectral_name(k)))

    def spectrals(self) -> tuple[SpectralPaths[P], ...]:
        """The spectral folders that are here and have a record, ascending: all Q, or those that a node has."""
        names = [name for name in at(self.root).folders() if name.startswith("spectral-")]
        return tuple(
            paths for paths in (SpectralPaths(inside(self.root, name)) for name in names) if exists(paths.record)
        )

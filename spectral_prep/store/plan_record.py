"""The plan of a conversion as it is recorded: every byte of the output follows from it.

Input: what `conversion.plan` decided, or `plan.json`. Output: the blocks, the order of the rows, the pixels of a row
and the arrays that hold them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from spectral_prep.choices import Compression, Format, Shuffle
from spectral_prep.encoding import Encoding
from spectral_prep.grid import SpectralSpec
from spectral_prep.images.augmentations import ViewKind
from spectral_prep.images.load import Geometry
from spectral_prep.images.views import load_view
from spectral_prep.sources.interface import RawImage
from spectral_prep.sources.selection import Selection
from spectral_prep.store.fields import MOST_BLOCKS, Name, Positive, Seed, Sha256, Split, require
from spectral_prep.store.interface import SpectralArray
from spectral_prep.store.record_file import LEFT_OUT, digest, plain

BATCH_VALUES = 640 << 10  # pixels: few enough to stay in a core's cache until they are summed, yet calls are few


@dataclass(frozen=True)
class SplitPlan:
    """One split: its rows, how many a block and an inner chunk hold, and the sha256 of its row index.

    With more than one view, rows v·images ≤ i < (v+1)·images are view v of every image, each view in the same order.
    """

    rows: Positive
    block_rows: Positive
    chunk_rows: Positive
    index_sha256: Sha256
    views: Positive = 1

    def __post_init__(self) -> None:
        require(self.rows % self.views == 0, "rows that are not all views", f"a multiple of {self.views}", self.rows)
        whole = self.block_rows % self.chunk_rows == 0
        require(whole, "blocks that are not whole chunks", f"a multiple of {self.chunk_rows}", self.block_rows)
        blocks = -(-self.rows // self.block_rows)
        require(blocks <= MOST_BLOCKS, "too many blocks", f"at most {MOST_BLOCKS}", blocks)

    @property
    def images(self) -> int:
        """How many images the rows are views of: the length of the row index."""
        return self.rows // self.views


@dataclass(frozen=True)
class Block:
    """Rows start ≤ i < stop of a split, in stored order: whole or not there at all.

    >>> str(Block(3, "train", 0, 8192))
    'block 3 (train rows 0 to 8191)'
    """

    number: int
    split: Split
    start: int
    stop: int

    def __str__(self) -> str:
        return f"block {self.number} ({self.split} rows {self.start} to {self.stop - 1})"


@dataclass(frozen=True)
class Plan:
    """`plan.json`: all that decides the output; two equal plans give the same bytes.

    `dataset` says how the source is opened; `selection` what of it is converted, None for all;
    `psnr` (dB) what was asked of `encoding`.
    """

    KIND: ClassVar[str] = "plan"

    dataset: Name
    fingerprint: Sha256
    classes: tuple[str, ...]
    geometry: Geometry
    spec: SpectralSpec
    encoding: Encoding
    store: Format
    compression: Compression
    seed: Seed
    shuffle: Shuffle
    splits: Mapping[Split, SplitPlan]
    augmentation: ViewKind | None = None
    selection: Selection | None = field(default=None, metadata=LEFT_OUT)
    name: Name | None = field(default=None, metadata=LEFT_OUT)
    psnr: Annotated[float, Field(gt=0)] | None = field(default=None, metadata=LEFT_OUT)

    def __post_init__(self) -> None:
        self.spec.spectral_size(self.geometry.height, self.geometry.width)
        scalars = len(self.encoding.scale_factor)
        require(self.encoding.fits(self.spec.q), "an encoding of another number of spectrals", self.spec.q, scalars)
        require("train" in self.splits, "no training rows", "a split train", list(self.splits))
        require(len(self.classes) > 0, "no classes", "at least one", 0)

    @property
    def plan_id(self) -> str:
        """A short name for what is planned: 16 hexadecimal digits of the plan's sha256."""
        return digest(self.KIND, plain(self))[:16]

    @property
    def title(self) -> str:
        """What the data set is called."""
        return self.name or self.dataset

    @property
    def rows(self) -> int:
        """Rows of all splits."""
        return sum(part.rows for part in self.splits.values())

    @property
    def spectral_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of one row of one spectral."""
        return (self.geometry.channels, *self.spec.spectral_size(self.geometry.height, self.geometry.width))

    @property
    def batch_rows(self) -> int:
        """Images transformed and summed at once by a CPU; no byte depends on it."""
        return max(1, BATCH_VALUES // self.geometry.values)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Every block, numbered through all splits."""
        ranges = [
            (name, start, min(start + part.block_rows, part.rows))
            for name, part in self.splits.items()
            for start in range(0, part.rows, part.block_rows)
        ]
        return tuple(Block(number, *bounds) for number, bounds in enumerate(ranges))

    def ids(self, name: str) -> npt.NDArray[np.int32]:
        """Return the row ids of a split in stored order, (N,): with `shuffle` "global" training images are
        permuted by the seed, others never are; the ids come once for each view.

        The permutation comes from RandomState, whose stream NEP 19 has frozen; Generator's may change.
        """
        part = self.splits[name]
        order = np.arange(part.images, dtype=np.int32)
        if name == "train" and self.shuffle == "global":
            order = np.random.RandomState(self.seed).permutation(part.images).astype(np.int32)
        return np.tile(order, part.views)

    def alone(self, rows: int) -> Plan:
        """Return the plan of so many training rows alone, all views of some images."""
        return replace(self, splits={"train": SplitPlan(rows, rows, rows, "", self.splits["train"].views)})

    def image(self, raw: RawImage, name: str, row: int, row_id: int) -> npt.NDArray[np.uint8]:
        """Return the pixels (height, width, channels) that a stored row of a split holds, from its raw image.

        Raises
        ------
        CorruptSourceError
            As `spectral_prep.images.load.load` does.
        """
        view = row // self.splits[name].images
        return load_view(raw, self.geometry, self.augmentation, (self.seed, row_id, view))

    def array(self, name: str, k: int) -> SpectralArray:
        """Return what `x` of a split of spectral k looks like."""
        part = self.splits[name]
        scale, offset = self.encoding.scalars(k) if self.encoding.dtype == "int8" else (None, None)
        return SpectralArray(
            part.rows,
            self.spectral_shape,
            self.encoding.dtype,
            part.block_rows,
            part.chunk_rows,
            self.compression,
            scale,
            offset,
        )

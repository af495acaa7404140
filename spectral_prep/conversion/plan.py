"""What will be done, fixed before the first image is converted: the plan.

Input: a source and what the user asked for. Output: a `Plan`, from which every byte of the output follows: the
transform, the encoding, the order of the rows and the boundaries of the blocks. It is written once and never again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from spectral_prep.conversion.request import Request, Shuffle
from spectral_prep.encoding import Encoding, calibrate
from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.images.decode import MAX_PIXELS
from spectral_prep.images.load import Geometry, image_size
from spectral_prep.images.views import Augmentation, choose_augmentation, load_view
from spectral_prep.sources.interface import RawImage, RowIndex, Source
from spectral_prep.spectrum import SpectralSpec, parse_q, split
from spectral_prep.store import STORES
from spectral_prep.store.interface import Compression, SpectralArray
from spectral_prep.store.layout import Format
from spectral_prep.store.records import digest
from spectral_prep.system.workers import torch_threads

CALIBRATION_ROWS = 1024
SIZE_SAMPLE_ROWS = 64
CHUNK_BYTES = 512 << 10
CHUNK_ROWS = (64, 2048)
PART_BYTES = 32 << 20
BLOCK_ROWS = 8192
MOST_PARTS = 1800
BATCH_VALUES = 640 << 10  # pixels: few enough to stay in a core's cache until they are summed, yet calls are few


@dataclass(frozen=True)
class SplitPlan:
    """One split: its rows, how many a block and an inner chunk hold, and the sha256 of its row index.

    With more than one view, rows v·images ≤ i < (v+1)·images are view v of every image, each view in the same order.
    """

    rows: int
    block_rows: int
    chunk_rows: int
    index_sha256: str
    views: int = 1

    @property
    def images(self) -> int:
        """How many images the rows are views of: the length of the row index."""
        return self.rows // self.views


@dataclass(frozen=True)
class Block:
    """One unit of work: rows start ≤ i < stop of a split, in stored order.

    >>> str(Block(3, "train", 0, 8192))
    'block 3 (train rows 0 to 8191)'
    """

    number: int
    split: str
    start: int
    stop: int

    def __str__(self) -> str:
        return f"block {self.number} ({self.split} rows {self.start} to {self.stop - 1})"


@dataclass(frozen=True)
class Plan:
    """All that decides the output; two equal plans give the same bytes."""

    dataset: str
    fingerprint: str
    classes: tuple[str, ...]
    geometry: Geometry
    spec: SpectralSpec
    encoding: Encoding
    store: Format
    compression: Compression
    seed: int
    shuffle: Shuffle
    splits: Mapping[str, SplitPlan]
    augmentation: Augmentation | None = None

    @property
    def plan_id(self) -> str:
        """A short name for what is planned: 16 hexadecimal digits of the plan's sha256."""
        return digest("plan", self.to_dict())[:16]

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
        return max(1, BATCH_VALUES // (self.geometry.height * self.geometry.width * self.geometry.channels))

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

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form that `from_dict` reads."""
        return {
            "dataset": self.dataset,
            "fingerprint": self.fingerprint,
            "classes": list(self.classes),
            "geometry": self.geometry.to_dict(),
            "spec": self.spec.to_dict(),
            "encoding": self.encoding.to_dict(),
            "store": self.store,
            "compression": self.compression,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "splits": {name: vars(part) for name, part in self.splits.items()},
            "augmentation": self.augmentation and self.augmentation.to_dict(),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Plan:
        """Return the plan that `to_dict` wrote."""
        return cls(
            **{
                **record,
                "classes": tuple(record["classes"]),
                "geometry": Geometry.from_dict(record["geometry"]),
                "spec": SpectralSpec.from_dict(record["spec"]),
                "encoding": Encoding.from_dict(record["encoding"]),
                "splits": {name: SplitPlan(**part) for name, part in record["splits"].items()},
                "augmentation": record["augmentation"] and Augmentation.from_dict(record["augmentation"]),
            }
        )


def choose_geometry(source: Source, index: Mapping[str, RowIndex], request: Request) -> Geometry:
    """Decide the size of the images that are converted.

    Without `request.size`: what all images of the source share; for ImageNet 224 after a resize of the short side to
    256; for other encoded images the size of a seeded sample of 64 if they all agree.

    Raises
    ------
    InputError
        If the images differ and no `size` was given.
    """
    size, resize, imagenet = request.size, request.resize, request.dataset in ("imagenet", "imagenet21k")
    limit = request.max_pixels or MAX_PIXELS
    if size is None and imagenet:
        size = 224
    if size is not None:
        channels = source.image_shape[2] if source.image_shape else 3
        ratio = 256 / 224 if imagenet else 1
        return Geometry(size, size, channels, resize or round(size * ratio), limit)
    if resize is not None:
        raise InputError("--resize without --size", expected="both", run=f"the same command with --size {resize}")
    if source.image_shape is not None:
        return Geometry(*source.image_shape, resize=None)
    sizes: set[tuple[int, int]] = set()
    for row in _sample(source, index, SIZE_SAMPLE_ROWS, request.seed):
        with contextlib.suppress(CorruptSourceError):  # a bad image is reported when its block is converted
            sizes.add(image_size(source.read(*row), limit))
    if len(sizes) != 1:
        examples = ", ".join(f"{height}x{width}" for height, width in sorted(sizes)[:3]) or "no readable image"
        raise InputError("the images do not share one size", got=examples, run="the same command with --size 224")
    return Geometry(*sizes.pop(), channels=3, resize=None, max_pixels=limit)


def make_plan(
    source: Source,
    index: Mapping[str, RowIndex],
    index_sha256: Mapping[str, str],
    request: Request,
    encoding: Encoding | None = None,
) -> Plan:
    """Decide everything; images are read only to calibrate int8, where no `encoding` is given, and to learn their size.

    Raises
    ------
    InputError
        If the source holds no training rows, cannot be shuffled, or `q` does not divide the images.
    """
    if not len(index.get("train", RowIndex((), np.empty(0, np.int32))).names):
        raise InputError("no training images", where=request.dataset)
    if request.shuffle == "global" and not source.random_access:
        raise InputError(
            "these images can only be read one after the other, so training rows cannot be stored in a shuffled order",
            where=request.dataset,
            expected="a source that can be read at any place: an uncompressed tar, or the extracted files",
            run="the same command with --shuffle none (training then shuffles what it loads)",
        )
    geometry = choose_geometry(source, index, request)
    spec = SpectralSpec(*parse_q(request.q, geometry.height, geometry.width), request.layout, request.transform)
    augmentation = choose_augmentation(request.augmentation, geometry) if request.views else None
    if encoding is None or encoding.dtype != request.dtype:
        with torch_threads(1):
            encoding = (
                _calibrated(source, index, geometry, spec, request, augmentation)
                if request.dtype == "int8"
                else Encoding(request.dtype)
            )
    row_bytes = geometry.height * geometry.width * geometry.channels * encoding.itemsize
    views = {name: 1 + request.views if name == "train" else 1 for name in index}
    rows = sum(views[name] * len(each.names) for name, each in index.items())
    block_rows = request.block_rows or _block_rows(rows, row_bytes, spec.q)
    splits = {
        name: _split_plan(len(each.names), views[name], row_bytes, spec.q, block_rows, index_sha256[name])
        for name, each in index.items()
        if len(each.names)
    }
    return Plan(
        request.dataset,
        source.fingerprint,
        source.classes,
        geometry,
        spec,
        encoding,
        request.format,
        request.compression or STORES[request.format].compressions[0],
        request.seed,
        request.shuffle,
        splits,
        augmentation,
    )


def _block_rows(rows: int, row_bytes: int, q: int) -> int:
    """Return how many rows a block has, for so many rows of so many bytes over all spectrals.

    Parts of 32 MiB before compression, so that file systems are not filled with small files and yet a block is some
    seconds of work, which is what a kill can cost; at most 8192 rows; and at most 1800 parts a spectral in all, so that
    14 million rows still give fewer than 2000 files a folder.
    """
    return max(1, min(PART_BYTES * q // row_bytes, BLOCK_ROWS), -(-rows // MOST_PARTS))


def _split_plan(images: int, views: int, row_bytes: int, q: int, block_rows: int, index_sha256: str) -> SplitPlan:
    rows = images * views
    fewest, most = CHUNK_ROWS
    chunk = min(max(fewest, min(most, CHUNK_BYTES * q // row_bytes)), rows, block_rows)
    block = -(-min(block_rows, rows) // chunk) * chunk
    return SplitPlan(rows, block, chunk, index_sha256, views)


def _calibrated(
    source: Source,
    index: Mapping[str, RowIndex],
    geometry: Geometry,
    spec: SpectralSpec,
    request: Request,
    augmentation: Augmentation | None,
) -> Encoding:
    """Calibrate on a seeded sample of training rows, image by image: only the extremes of each spectral are kept.

    Of each image one view is looked at, all of them in turn.

    They are kept in place: small results that outlive each image's large one would pin the heap, 600 kB an image.
    """
    lowest, highest = torch.full((spec.q,), torch.inf), torch.full((spec.q,), -torch.inf)
    for place, row in enumerate(_sample(source, index, CALIBRATION_ROWS, request.seed)):
        with contextlib.suppress(CorruptSourceError):
            key = (request.seed, row[1], place % (1 + request.views))
            image_HWC = load_view(source.read(*row), geometry, augmentation, key)
            spectrum_Qn = split(torch.from_numpy(image_HWC)[None], spec).flatten(1)
            torch.minimum(lowest, spectrum_Qn.amin(1), out=lowest)
            torch.maximum(highest, spectrum_Qn.amax(1), out=highest)
    extremes_Q2 = torch.stack([lowest, highest], dim=1)
    sample = extremes_Q2[:, extremes_Q2.isfinite().all(0)]  # none, if no image could be read
    return calibrate(sample.view(spec.q, -1, 1, 1, 1), spec)


def sample_rows(source: Source, rows: int, count: int, seed: int) -> npt.NDArray[np.int32]:
    """Return the ids of a seeded sample of a split's rows, ascending; the first ones where rows come in one order only.

    A source without random access would have to be read to its end for any other sample.
    """
    if not source.random_access:
        return np.arange(min(rows, count), dtype=np.int32)
    return np.sort(np.random.RandomState(seed).permutation(rows)[:count]).astype(np.int32)


def _sample(source: Source, index: Mapping[str, RowIndex], count: int, seed: int) -> Sequence[tuple[str, int, str]]:
    names = index["train"].names
    return [("train", int(i), names[int(i)]) for i in sample_rows(source, len(names), count, seed)]

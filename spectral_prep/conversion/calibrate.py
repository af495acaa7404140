"""The scalars of int8, from a seeded sample of training images.

Input: a source, the size of its images, and how they are transformed. Output: an `Encoding` with a scale and an offset
for each spectral: as fine as its range allows, or coarser where the request says what error is wanted.

The sample is divided into parts, which workers look at (`sampled.look`). Extremes are exact in any order, and the
places of coefficients follow from the seed and the image: who looked at what decides nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spectral_prep.conversion.execution import Execution
from spectral_prep.conversion.memory import memory_before_plan
from spectral_prep.conversion.sample import sample_ids
from spectral_prep.conversion.workers import sampling_workers
from spectral_prep.encoding import Encoding, calibrate_range, with_psnr
from spectral_prep.engines.interface import Late
from spectral_prep.engines.processes import run_all
from spectral_prep.grid import SpectralSpec
from spectral_prep.images.augmentations import ViewKind
from spectral_prep.images.load import Geometry
from spectral_prep.sources.interface import Images, RowIndex, Source
from spectral_prep.sources.name_list import some
from spectral_prep.system.watch import Step, tell

CALIBRATION_ROWS = 1024
PART_ROWS = 64
ERROR_VALUES = 4 << 20
"""Coefficients of the sample by which an error is measured, of all spectrals together."""

CALIBRATING = "calibrating"
"""The step that the images of every part count towards."""

LOOK = Late("spectral_prep.conversion.sampled", "look")
"""What a worker does with a `Calibration` and a `Part`; it needs torch."""


@dataclass(frozen=True)
class Calibration:
    """What all parts of the sample have in common."""

    geometry: Geometry
    spec: SpectralSpec
    seed: int
    augmentation: ViewKind | None
    views: int


@dataclass(frozen=True)
class Part:
    """Some images of the sample, from its place `start` on: (row id, name) of each, and what reads them.

    `places` (R, n) are those of the coefficients of each spectral that are kept of each image, none without a `psnr`.
    """

    start: int
    rows: list[tuple[int, str]]
    images: Images
    places: npt.NDArray[np.int64]

    def __str__(self) -> str:
        return f"images {self.start} to {self.start + len(self.rows) - 1} of the calibration"


@dataclass(frozen=True)
class Looked:
    """What was seen in a part: the extremes of each spectral, (Q,), and some coefficients of good images, (Q, R, n)."""

    start: int
    images: int
    lowest: npt.NDArray[np.float32]
    highest: npt.NDArray[np.float32]
    some: npt.NDArray[np.float32]


def calibrated(
    source: Source,
    rows: RowIndex,
    calibration: Calibration,
    psnr: float | None,
    execution: Execution,
) -> Encoding:
    """Calibrate on a seeded sample of training rows: only the extremes of each spectral are kept, and, where an error
    is wanted (dB), some of its coefficients at seeded places.

    Of each image one view is looked at, all of them in turn. Of `execution` count workers and memory.
    """
    geometry, spec = calibration.geometry, calibration.spec
    ids = sample_ids(source, len(rows.names), CALIBRATION_ROWS, calibration.seed)
    workers = 1
    if source.random_access:
        memory, images = memory_before_plan(geometry), len(rows.names) * calibration.views
        workers = sampling_workers(len(ids), images, geometry, memory, execution)
    tell(Step(CALIBRATING, 0, len(ids), "images"))
    found: list[Looked] = []
    done = 0
    parts = _parts(source, rows, ids, calibration, keep=psnr is not None)
    for looked in run_all(functools.partial(LOOK, calibration), parts, workers):
        found.append(looked)
        done += looked.images
        tell(Step(CALIBRATING, done, len(ids), "images", ended=done == len(ids)))
    lowest_Q = np.min([each.lowest for each in found], axis=0)
    highest_Q = np.max([each.highest for each in found], axis=0)
    finest = calibrate_range(lowest_Q, highest_Q, spec)
    if psnr is None:
        return finest
    from spectral_prep.system.threads import torch_threads  # it imports torch

    some_QRn = np.concatenate([each.some for each in sorted(found, key=lambda each: each.start)], axis=1)
    with torch_threads(1):
        return with_psnr(finest, some_QRn.reshape(spec.q, -1), psnr) if some_QRn.size else finest


def _parts(
    source: Source,
    rows: RowIndex,
    ids: npt.NDArray[np.int32],
    calibration: Calibration,
    *,
    keep: bool,
) -> Iterator[Part]:
    random = np.random.RandomState(calibration.seed)
    q = calibration.spec.q
    values = calibration.geometry.values // q
    each = min(values, max(1, ERROR_VALUES // (CALIBRATION_ROWS * q))) if keep else 0
    for start in range(0, len(ids), PART_ROWS):
        own = ids[start : start + PART_ROWS]
        named = list(zip(own.tolist(), some(rows.names, own), strict=True))
        places_Rn = random.randint(values, size=(len(own), each))
        yield Part(start, named, source.for_rows("train", own), places_Rn)

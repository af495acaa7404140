"""Stored rows put back together, and how far they are from the images that they were made from.

Input: a complete data set and its source. Output: one row, or what a seeded sample of rows shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spectral_prep.conversion.row_index import read_index
from spectral_prep.inspection.verify_values import folders
from spectral_prep.kernel import fused_merge, fused_split
from spectral_prep.printable import shown
from spectral_prep.sources.interface import Source
from spectral_prep.store.interface import BAD_LABEL, Rows
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.store.plan_record import Plan
from spectral_prep.store.read_folder import readable, stored_labels, stored_rows
from spectral_prep.system.watch import counted

Pixels = npt.NDArray[np.uint8]


def restored(plan: Plan, spectrals: Sequence[Rows], place: int) -> tuple[Tensor, Pixels]:
    """Return the row at a place, in stored order, of the Q spectrals of a split: stored (Q, 1, C, h, w), and its pixels
    put back together (H, W, C).
    """
    stored_QNChw = torch.from_numpy(np.stack([rows.read(place, place + 1) for rows in spectrals]))
    return stored_QNChw, fused_merge(stored_QNChw, plan.spec, encoding=plan.encoding)[0].numpy()


def difference(original: Pixels, merged: Pixels) -> npt.NDArray[np.int_]:
    """Return the grey levels between two images (H, W, C)."""
    return np.abs(original.astype(int) - merged)


def psnr(difference: npt.NDArray[np.int_]) -> float:
    """Return the peak signal-to-noise ratio (dB) of images that differ by these grey levels; infinite if by none.

    >>> psnr(np.array([0, 255])), psnr(np.array([0, 0]))
    (3.010299956639812, inf)
    """
    mean_square = float(np.square(difference.astype(float)).mean())
    return 10 * math.log10(255**2 / mean_square) if mean_square else math.inf


@dataclass(frozen=True)
class PixelCheck:
    """How a sample of rows compares with the source: grey levels; `psnr` in dB is None where all pixels are equal."""

    rows: int
    exact_rows: int
    largest_difference: int
    psnr: float | None

    @classmethod
    def of(cls, differences: Sequence[npt.NDArray[np.int_]]) -> PixelCheck | None:
        """Return what the differences (H, W, C) of some rows amount to, None for no rows."""
        if not differences:
            return None
        stacked = np.stack(differences)
        return cls(
            rows=len(stacked),
            exact_rows=int((stacked.reshape(len(stacked), -1) == 0).all(axis=1).sum()),
            largest_difference=int(stacked.max()),
            psnr=psnr(stacked) if stacked.any() else None,
        )


def compare_pixels(
    paths: DatasetPaths, plan: Plan, source: Source, sample_rows: int
) -> tuple[PixelCheck | None, list[str]]:
    """Compare a seeded sample of each split with the source: stored values to one int8 step, float pixels exactly."""
    differences, faults = [], []
    for name in plan.splits:
        with readable(paths.root):
            spectrals = [stored_rows(spectral.root, record, name) for spectral, record in folders(paths, plan)]
        sample = list(_sample(paths, plan, name, sample_rows))
        for place, row_id, image_name in counted(sample, f"comparing images of {name}", "images"):
            original_HWC = plan.image(source.read(name, row_id, image_name), name, place, row_id)
            with readable(paths.root):
                stored_QNChw, merged_HWC = restored(plan, spectrals, place)
            differences.append(difference(original_HWC, merged_HWC))
            again_QNChw = fused_split(torch.from_numpy(original_HWC)[None], plan.spec, encoding=plan.encoding)
            steps = (again_QNChw.float() - stored_QNChw.float()).abs().max()
            if (steps > 1) if plan.encoding.dtype == "int8" else differences[-1].any():
                faults.append(f"{paths.root}: {name} row {place} is not what {shown(image_name)} converts to")
    return PixelCheck.of(differences), faults


def _sample(paths: DatasetPaths, plan: Plan, name: str, count: int) -> Iterator[tuple[int, int, str]]:
    """Yield (place in stored order, row id, source name) of a seeded sample of good rows."""
    spectral, record = next(folders(paths, plan))
    with readable(spectral.root):
        labels, ids = stored_labels(spectral.root, record, name)
    places = sorted(np.random.RandomState(plan.seed).permutation(np.flatnonzero(labels != BAD_LABEL))[:count].tolist())
    wanted = set(ids[places].tolist())
    names = {row_id: row[0] for row_id, row in enumerate(read_index(paths, plan, name)) if row_id in wanted}
    for place in places:
        yield place, int(ids[place]), names[ids[place]]

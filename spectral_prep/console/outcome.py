"""What `spectral-prep convert --json` says when it is done, for machines.

Input: what was wanted and how long it took. Output: one object that JSON can hold. How faithful the stored form is
(`psnr`) is measured on a sample of rows, which the source is opened for once more.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from spectral_prep.console.options import Wanted
from spectral_prep.conversion.chosen import as_planned
from spectral_prep.inspection.info import info
from spectral_prep.inspection.pixels import PixelCheck, compare_pixels
from spectral_prep.sources import open_source
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.store.plan_record import Plan
from spectral_prep.store.record_file import read_record
from spectral_prep.system.watch import step

SAMPLE_ROWS = 64
"""Of each split."""


def outcome(wanted: Wanted, seconds: float) -> dict[str, Any]:
    """Return folder, rows by split, bytes, seconds and the like; `psnr` in dB.

    `psnr` is null where every sampled pixel is equal (`largest_difference` 0), and both are where the data set is not
    complete yet.
    """
    found = info(wanted.out)
    checked = _checked(wanted) if found.complete else None
    return {
        "folder": str(wanted.out),
        "dataset": found.dataset,
        "dataset_id": found.dataset_id,
        "complete": found.complete,
        "rows": dict(found.rows),
        "bad_rows": dict(found.bad_rows),
        "classes": found.classes,
        "spectrals": list(found.spectrals),
        "dtype": found.dtype,
        "format": found.format,
        "bytes": found.bytes,
        "saturated": found.saturated,
        "seconds": round(seconds, 3),
        "psnr": None if checked is None or checked.psnr is None else round(checked.psnr, 2),
        "largest_difference": None if checked is None else checked.largest_difference,
    }


def _checked(wanted: Wanted) -> PixelCheck | None:
    paths = DatasetPaths(wanted.out)
    plan = read_record(paths.plan, Plan)
    with tempfile.TemporaryDirectory() as staging:
        with step("opening the source"):
            source = as_planned(paths, plan, open_source(plan.dataset, wanted.source, Path(staging)))
        return compare_pixels(paths, plan, source, SAMPLE_ROWS)[0]

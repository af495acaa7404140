"""Whole folders as values: to be compared byte by byte, or with what was converted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import zarr

from spectral_prep.encoding import decode
from spectral_prep.places import at
from spectral_prep.places.url import Place
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.store.plan_record import Plan
from spectral_prep.store.record_file import read_record


def tree(root: Path) -> dict[str, bytes]:
    """Return {relative path: content} of every file."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def objects(root: Place) -> dict[str, bytes]:
    """Return the same of a folder that may be in a bucket."""
    return {entry.path: at(root / entry.path).read(entry.size) for entry in at(root).files()}


def stored(root: Path, split: str) -> tuple[Plan, torch.Tensor, np.ndarray, np.ndarray]:
    """Return the plan, the decoded spectrum (Q, N, C, h, w), labels and ids, read with plain zarr."""
    plan = read_record(DatasetPaths(root).plan, Plan)
    folders = [DatasetPaths(root).spectral(k).root / split for k in range(plan.spec.q)]
    spectrum, labels, ids = (
        np.stack([np.asarray(zarr.open_array(folder / name, mode="r")[:]) for folder in folders])
        for name in ("x", "y", "id")
    )
    assert (labels == labels[0]).all()
    assert (ids == ids[0]).all()
    return plan, decode(torch.from_numpy(spectrum), plan.encoding), labels[0], ids[0]

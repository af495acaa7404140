"""What a converted data set is, without reading its images.

Input: the folder of a data set, finished or not, or one spectral folder. Output: an `Info`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spectral_prep.choices import Format
from spectral_prep.conversion.finished import finished_blocks
from spectral_prep.encoding import expected_psnr
from spectral_prep.errors import InputError
from spectral_prep.grid import SpectralSpec
from spectral_prep.places import exists
from spectral_prep.places.url import Place
from spectral_prep.store.layout import DatasetPaths, SpectralPaths
from spectral_prep.store.plan_record import Plan
from spectral_prep.store.read_folder import part_bytes
from spectral_prep.store.record_file import read_record
from spectral_prep.store.records import SpectralRecord


@dataclass(frozen=True)
class Info:
    """A data set in numbers.

    `bytes` are of the image rows as stored, in the spectrals that are there; `energy` is the variance of each of the Q
    spectrals over the training rows (grey levels squared), empty until complete; `blocks_done` counts finished blocks;
    `views` is how many rows a training image has; `psnr` is about what the images keep, in dB, None where they keep
    every pixel or where that is not known yet.
    """

    dataset: str
    dataset_id: str
    complete: bool
    blocks_done: int
    blocks: int
    spec: SpectralSpec
    dtype: str
    format: Format
    image_shape: tuple[int, int, int]
    classes: int
    rows: Mapping[str, int]
    views: int
    bad_rows: Mapping[str, int]
    spectrals: tuple[int, ...]
    bytes: int
    saturated: int
    energy: tuple[float, ...] = ()
    psnr: float | None = None

    @property
    def spectral_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of one row of one spectral."""
        height, width, channels = self.image_shape
        return (channels, *self.spec.spectral_size(height, width))

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form for `--json`."""
        return {**asdict(self), "spectral_shape": self.spectral_shape}


def info(root: Place) -> Info:
    """Describe a data set, an unfinished conversion or a single spectral folder.

    Raises
    ------
    InputError
        If the folder is none of these.
    """
    paths = DatasetPaths(root)
    if exists(SpectralPaths(root).record):
        return _complete([SpectralPaths(root)], None)
    if exists(paths.manifest):
        plan = read_record(paths.plan, Plan)
        return _complete([paths.spectral(k) for k in range(plan.spec.q)], plan.psnr)
    if exists(paths.plan):
        return _unfinished(paths)
    raise InputError(
        "no converted data set here",
        where=root,
        expected="plan.json, or spectral.json of a single spectral folder",
        run="spectral-prep convert --dataset digits --q 4",
    )


def _complete(spectrals: Sequence[SpectralPaths], psnr: float | None) -> Info:
    records = [read_record(spectral.record, SpectralRecord) for spectral in spectrals]
    first = records[0]
    blocks = sum(len(list(split.parts())) for split in first.splits.values())
    return Info(
        dataset=first.dataset,
        dataset_id=first.dataset_id,
        complete=True,
        blocks_done=blocks,
        blocks=blocks,
        spec=first.spec,
        dtype=first.encoding.dtype,
        format=first.store,
        image_shape=(first.height, first.width, first.channels),
        classes=len(first.classes),
        rows={name: split.rows for name, split in first.splits.items()},
        views=first.splits["train"].views,
        bad_rows={name: split.bad_rows for name, split in first.splits.items()},
        spectrals=tuple(record.k for record in records),
        bytes=sum(part_bytes(record) for record in records),
        saturated=sum(record.saturated for record in records),
        energy=first.energy,
        psnr=psnr or expected_psnr(first.encoding, first.energy),
    )


def _unfinished(paths: DatasetPaths) -> Info:
    plan = read_record(paths.plan, Plan)
    finished = list(finished_blocks(paths, plan))
    return Info(
        dataset=plan.title,
        dataset_id=f"plan {plan.plan_id}",
        complete=False,
        blocks_done=len(finished),
        blocks=len(plan.blocks),
        spec=plan.spec,
        dtype=plan.encoding.dtype,
        format=plan.store,
        image_shape=(plan.geometry.height, plan.geometry.width, plan.geometry.channels),
        classes=len(plan.classes),
        rows={name: part.rows for name, part in plan.splits.items()},
        views=plan.splits["train"].views,
        bad_rows={name: sum(len(record.bad) for record in finished if record.split == name) for name in plan.splits},
        spectrals=tuple(range(plan.spec.q)),
        bytes=sum(entry.size for record in finished for entry in record.files),
        saturated=sum(sum(record.saturated) for record in finished),
        psnr=plan.psnr,
    )

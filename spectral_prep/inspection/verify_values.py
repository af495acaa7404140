"""Proving that the values in a converted data set are those that its records describe.

Input: a data set, or one spectral folder, whose files are all as listed. Output: lines for parts that cannot be
decoded, whose statistics are not those recorded when they were written, or whose own labels are those of other rows.
Every part is read as training reads it, so all that guards it (crc32c, names of members) is checked on the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from spectral_prep.conversion.finalize import spectral_statistics
from spectral_prep.conversion.totals import totals
from spectral_prep.places.url import Place
from spectral_prep.store.interface import BAD_LABEL, UNREADABLE, Rows
from spectral_prep.store.layout import DatasetPaths, SpectralPaths
from spectral_prep.store.plan_record import Plan
from spectral_prep.store.planned import read_block, read_spectral
from spectral_prep.store.read_folder import pieces, stored_labels, stored_rows
from spectral_prep.store.records import BlockRecord, SpectralRecord
from spectral_prep.system.watch import counted

SUMMATION = 1e-9
"""How far sums of floats may differ that were added in another order, relative to the sum of their magnitudes."""

RECORDED = 1e-6
"""How far the mean and deviation in a spectral record may differ from those computed from the values."""


@dataclass(frozen=True)
class Sums:
    """What a block record says of one part: over its good rows, each channel (C,), exact for int8."""

    sum: npt.NDArray[np.float64]
    sum_of_squares: npt.NDArray[np.float64]
    saturated: int
    count: int

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.sum + other.sum,
            self.sum_of_squares + other.sum_of_squares,
            self.saturated + other.saturated,
            self.count + other.count,
        )

    def agrees(self, other: Sums, relative: float) -> bool:
        """Whether these are of the same values, but for how far sums may differ that were added in another order."""
        magnitude = np.sqrt(self.sum_of_squares * max(self.count, 1))  # no less than the sum of magnitudes
        return bool(
            (self.saturated, self.count) == (other.saturated, other.count)
            and (np.abs(self.sum - other.sum) <= relative * magnitude).all()
            and (np.abs(self.sum_of_squares - other.sum_of_squares) <= relative * self.sum_of_squares).all()
        )


def folders(paths: DatasetPaths, plan: Plan) -> Iterator[tuple[SpectralPaths, SpectralRecord]]:
    """Yield every spectral folder of a data set and its record."""
    for k in range(plan.spec.q):
        spectral = paths.spectral(k)
        yield spectral, read_spectral(paths, plan, k)


def dataset_faults(paths: DatasetPaths, plan: Plan) -> Iterator[str]:
    """Yield a line for every part whose values are not those of its block's record, and every record that is wrong."""
    blocks = [read_block(paths, plan, block) for block in plan.blocks]
    expected = spectral_statistics(plan, blocks)
    for spectral, record in folders(paths, plan):
        if any(getattr(record, name) != value for name, value in expected[record.k].items()):
            yield f"{spectral.record}: its statistics are not those of the block records"
        for split in plan.splits:
            yield from _split_faults(spectral, record, split, [block for block in blocks if block.split == split])


def folder_faults(root: Place, record: SpectralRecord) -> Iterator[str]:
    """Yield a line for each split of a spectral folder that cannot be decoded, and for statistics not its own."""
    total = {split: _no_sums(record) for split in record.splits}
    for split, info in record.splits.items():
        try:
            rows, labels = _opened(root, record, split)
            for _, part in info.parts():
                total[split] += _sums(rows, labels, record, part)
        except UNREADABLE as error:
            yield f"{root}: {split}: {error}"
            return
    train = total["train"]
    mean = train.sum / max(1, train.count)
    deviation = np.sqrt(np.maximum(train.sum_of_squares / max(1, train.count) - mean**2, 0))
    scale, offset = record.encoding.scalars(record.k)
    computed = [mean * scale + offset, deviation * scale]
    beyond = sum(found.saturated for found in total.values())
    if record.saturated != beyond or not np.allclose([record.mean, record.std], computed, rtol=RECORDED, atol=RECORDED):
        yield f"{SpectralPaths(root).record}: its statistics are not those of the stored values"


def _split_faults(
    spectral: SpectralPaths, record: SpectralRecord, split: str, blocks: Sequence[BlockRecord]
) -> Iterator[str]:
    try:
        rows, labels = _opened(spectral.root, record, split)
    except UNREADABLE as error:
        yield f"{spectral.root}: {split}: {error}"
        return
    name = f"decoding spectral {record.k} of {record.spec.q}, {split}"
    for block in counted(blocks, name, "parts"):
        path = spectral.part(split, block.start // record.splits[split].block_rows, record.store)
        try:
            found = _sums(rows, labels, record, slice(block.start, block.stop))
        except UNREADABLE as error:
            yield f"{path}: {error}"
        else:
            if not _recorded(block, record.k).agrees(found, 0 if record.encoding.dtype == "int8" else SUMMATION):
                yield f"{path}: its values are not those that its block's record describes"


def _opened(root: Place, record: SpectralRecord, split: str) -> tuple[Rows, npt.NDArray[Any]]:
    return stored_rows(root, record, split), stored_labels(root, record, split)[0]


def _recorded(block: BlockRecord, k: int) -> Sums:
    return Sums(np.array(block.sum[k]), np.array(block.sum_of_squares[k]), block.saturated[k], block.count)


def _sums(rows: Rows, labels: npt.NDArray[Any], record: SpectralRecord, part: slice) -> Sums:
    """Decode a part and return what its block's record should say; ValueError if its own labels are other ones."""
    total = _no_sums(record)
    for place, values_NChw in pieces(rows, part):
        _require_labels(rows, place, labels[place])
        total += _sums_of(values_NChw, int((labels[place] != BAD_LABEL).sum()))
    return total


def _no_sums(record: SpectralRecord) -> Sums:
    return Sums(np.zeros(record.channels), np.zeros(record.channels), 0, 0)


def _sums_of(values_NChw: npt.NDArray[Any], good: int) -> Sums:
    total, squares, beyond = totals(torch.from_numpy(values_NChw)[None])[:, 0].numpy()
    return Sums(total, squares, int(beyond.sum()), good * values_NChw[0, 0].size)


def _require_labels(rows: Rows, place: slice, labels: npt.NDArray[Any]) -> None:
    own = rows.part_labels(place.start, place.stop)
    if own is not None and (wrong := np.flatnonzero(own != labels)).size:
        first = wrong[0]
        raise ValueError(f"row {place.start + first} has label {own[first]}, expected {labels[first]}")

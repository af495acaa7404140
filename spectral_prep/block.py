"""One block: a range of rows converted as a unit, and the record that vouches for its files.

Goes in: a `BlockTask`, all that any process on any machine needs. Come out: Q part files, then the block's record.
A block whose record and files are there is never done again; that is what makes a rerun a resume.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spectral_prep.encoding import saturated
from spectral_prep.engines import torch_threads
from spectral_prep.errors import CorruptShardError, CorruptSourceError, InputError
from spectral_prep.images import load
from spectral_prep.kernel import fused_split
from spectral_prep.manifest import FileEntry, entries, read_record, write_record
from spectral_prep.plan import Block, Plan
from spectral_prep.sources.base import Source
from spectral_prep.store.files import atomic_write, has_size
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.store.zarr_store import part_bytes

OnError = Literal["fail", "skip"]


@dataclass(frozen=True)
class BadRow:
    """A row whose image cannot be converted: label −1 and zeros stand in its place in every folder."""

    id: int
    name: str
    reason: str


@dataclass(frozen=True)
class BlockRecord:
    """What one finished block vouches for.

    `sum` and `sum_of_squares` (Q, C) are over the stored values of its good rows, exact for int8; `count` is how many
    values each such sum has. `saturated` (Q,) counts stored values beyond the calibrated range.
    """

    number: int
    split: str
    start: int
    stop: int
    files: tuple[FileEntry, ...]
    bad: tuple[BadRow, ...]
    count: int
    sum: list[list[float]]
    sum_of_squares: list[list[float]]
    saturated: list[int]

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> BlockRecord:
        """Return the record whose `asdict` this is."""
        return cls(
            **{**record, "files": entries(record["files"]), "bad": tuple(BadRow(**row) for row in record["bad"])}
        )


@dataclass(frozen=True)
class BlockTask:
    """All that a worker needs to convert one block; small, and picklable."""

    root: Path
    plan: Plan
    source: Source
    block: Block
    ids: npt.NDArray[np.int32]
    names: list[str]
    on_error: OnError


def run_block(task: BlockTask) -> BlockRecord:
    """Convert one block: Q part files, then its record; under `on_error="fail"` one with bad rows writes nothing."""
    with torch_threads(1):  # processes are the parallelism, and no byte may depend on a thread count
        stored_QNChw, sums, bad = _stored_rows(task)
    paths, block = DatasetPaths(task.root), task.block
    files = []
    if not bad or task.on_error == "skip":
        for k, stored_NChw in enumerate(stored_QNChw.numpy()):
            content = part_bytes(task.plan.array(block.split, k), block.start, stored_NChw)
            path = paths.spectral(k).part(block.split, block.start // task.plan.splits[block.split].block_rows)
            atomic_write(path, content)
            files.append(FileEntry.of_bytes(task.root, path, content))
    record = BlockRecord(
        **vars(block),
        files=tuple(files),
        bad=tuple(bad),
        count=(block.stop - block.start - len(bad)) * stored_QNChw[0, 0, 0].numel(),
        sum=sums[0].tolist(),
        sum_of_squares=sums[1].tolist(),
        saturated=saturated(stored_QNChw, task.plan.encoding).tolist(),
    )
    if files:
        write_record(paths.block(block.number), "block", asdict(record))
    return record


def finished_blocks(paths: DatasetPaths, plan: Plan, on_error: OnError = "skip") -> Iterator[BlockRecord]:
    """Yield the records of blocks that need not be done again: record whole, files there with the right size.

    Under `on_error="fail"` a block that an earlier run finished with bad rows is done again: they may be mended.
    """
    for block in plan.blocks:
        try:
            record = BlockRecord.from_dict(read_record(paths.block(block.number), "block"))
        except (InputError, CorruptShardError):
            continue
        if all(has_size(paths.root / entry.path, entry.size) for entry in record.files) and (
            on_error == "skip" or not record.bad
        ):
            yield record


def _stored_rows(task: BlockTask) -> tuple[Tensor, Tensor, list[BadRow]]:
    """Return the stored spectrum (Q, rows, C, h, w), its sums and sums of squares (2, Q, C), and the bad rows."""
    plan, geometry = task.plan, task.plan.geometry
    shape = (plan.spec.q, len(task.ids), *plan.spectral_shape)
    stored_QNChw = torch.zeros(shape, dtype=plan.encoding.torch_dtype)
    sums_2QC = torch.zeros(2, plan.spec.q, geometry.channels, dtype=torch.float64)
    bad: list[BadRow] = []
    for first in range(0, len(task.ids), plan.batch_rows):
        batch = range(first, min(first + plan.batch_rows, len(task.ids)))
        images_NHWC = np.zeros((len(batch), geometry.height, geometry.width, geometry.channels), np.uint8)
        empty = []
        for place, row in enumerate(batch):
            row_id, name = int(task.ids[row]), task.names[row]
            try:
                images_NHWC[place] = load(task.source.read(task.block.split, row_id, name), geometry)
            except CorruptSourceError as error:
                bad.append(BadRow(row_id, name, str(error)))
                empty.append(place)
        part_QNChw = fused_split(torch.from_numpy(images_NHWC), plan.spec, encoding=plan.encoding)
        part_QNChw[:, empty] = 0
        stored_QNChw[:, first : first + len(batch)] = part_QNChw
        exact = part_QNChw.double()
        sums_2QC += torch.stack([exact.sum((1, 3, 4)), exact.square_().sum((1, 3, 4))])
    return stored_QNChw, sums_2QC, bad

"""One block: a range of rows converted as a unit, and the record that vouches for its files.

Input: a `BlockTask` and what all blocks have in common, all that any process on any machine needs. Output: Q part
files, then the block's record.
A block whose record and files are there is never done again; that is what makes a rerun a resume.
"""

from __future__ import annotations

import math
import socket
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spectral_prep.conversion.tasks import CONVERTING, AllBlocks, BlockTask
from spectral_prep.conversion.totals import totals
from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.kernel.stream import chosen_device, split_stream
from spectral_prep.places import exists
from spectral_prep.sources.interface import RawImage
from spectral_prep.sources.read_ahead import raw_images
from spectral_prep.store import STORES
from spectral_prep.store.block_writer import BlockWriter
from spectral_prep.store.interface import BAD_LABEL
from spectral_prep.store.layout import WRITING, DatasetPaths
from spectral_prep.store.plan_record import Block, Plan
from spectral_prep.store.planned import part_paths
from spectral_prep.store.record_file import write_record
from spectral_prep.store.records import BadRow, BlockRecord, FileEntry
from spectral_prep.system.threads import torch_threads
from spectral_prep.system.watch import Step, tell

GPU_BATCHES = 4
"""How many times as many images a GPU is given at once as a CPU: copying few takes longer than their bytes do."""


def run_block(all_blocks: AllBlocks, task: BlockTask) -> BlockRecord:
    """Convert one block: Q part files, then its record; under `on_error="fail"` one with bad rows writes nothing."""
    plan, block, batch_rows = all_blocks.plan, task.block, all_blocks.plan.batch_rows
    _require_plan(DatasetPaths(all_blocks.root))
    totals_3QC = torch.zeros(3, plan.spec.q, plan.geometry.channels, dtype=torch.float64)
    bad: list[BadRow] = []
    done = 0
    files: tuple[FileEntry, ...] = ()
    with (
        torch_threads(1),
        _writer(all_blocks, block) as writer,
    ):  # processes are the parallelism; no byte depends on a thread count
        for stored_QNChw, bad_in_batch in stored_batches(all_blocks, task):
            bad += bad_in_batch
            for piece_QnChw in torch.split(stored_QNChw, batch_rows, dim=1):
                totals_3QC += totals(piece_QnChw)
            rows = slice(done, done := done + stored_QNChw.shape[1])
            _tell(block, done)
            if not bad or all_blocks.on_error == "skip":
                writer.append(stored_QNChw.numpy(), _labels(task, rows, bad_in_batch))
        if not bad or all_blocks.on_error == "skip":
            files = writer.finish()
    record = BlockRecord(
        **vars(block),
        files=files,
        bad=tuple(bad),
        count=(block.stop - block.start - len(bad)) * math.prod(plan.spectral_shape[1:]),
        sum=_rows_of(totals_3QC[0]),
        sum_of_squares=_rows_of(totals_3QC[1]),
        saturated=tuple(totals_3QC[2].sum(-1).long().tolist()),
    )
    _tell(block, done, ended=True)
    if files:
        write_record(DatasetPaths(all_blocks.root).block(block.number), record, WRITING)
    return record


def _tell(block: Block, done: int, *, ended: bool = False) -> None:
    tell(Step(str(block), done, block.stop - block.start, "images", within=CONVERTING, ended=ended))


def _rows_of(totals_QC: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, totals_QC.tolist()))


def _require_plan(paths: DatasetPaths) -> None:
    """Raise unless the plan, which is written before any block is begun, is seen here."""
    if not exists(paths.plan):
        raise InputError(
            "the output folder is not seen by a worker",
            where=paths.root,
            expected="a folder that every machine which converts sees under the same path",
            got=f"no {paths.plan.name} there on {socket.gethostname()}",
            run="the same command with --source and --out on a file system that all nodes share",
        )


def _writer(all_blocks: AllBlocks, block: Block) -> BlockWriter:
    plan, root = all_blocks.plan, all_blocks.root
    array = plan.array(block.split, 0)
    encoder = STORES[plan.store].encoder(array, plan.spec.q, block.start)
    return BlockWriter(root, part_paths(DatasetPaths(root), plan, block), encoder, array)


def _labels(task: BlockTask, rows: slice, bad: Sequence[BadRow]) -> npt.NDArray[np.int32]:
    """Return the labels of a range of the block's rows, −1 for bad ones."""
    labels = task.labels[rows].copy()
    if bad:
        labels[np.isin(task.ids[rows], [row.id for row in bad])] = BAD_LABEL
    return labels


def stored_batches(all_blocks: AllBlocks, task: BlockTask) -> Iterator[tuple[Tensor, list[BadRow]]]:
    """Yield the stored spectrum (Q, n, C, h, w) of a few rows after the other, and the bad ones among them.

    For a CPU there are so few that they are split and summed while they are in its cache.
    """
    plan, geometry = all_blocks.plan, all_blocks.plan.geometry
    at_once = plan.batch_rows * (1 if chosen_device(all_blocks.device).type == "cpu" else GPU_BATCHES)
    most = min(at_once, len(task.ids))
    images_NHWC = np.empty((most, geometry.height, geometry.width, geometry.channels), np.uint8)
    found: deque[tuple[list[int], list[BadRow]]] = deque()  # of batches that are read and not yet split

    named = list(zip(task.ids.tolist(), task.names, strict=True))
    raws = raw_images(task.images, task.block.split, named)

    def batches() -> Iterator[Tensor]:
        for first in range(0, len(task.ids), most):
            rows = range(first, min(first + most, len(task.ids)))
            found.append(_read(plan, task, rows, raws, images_NHWC))
            yield torch.from_numpy(images_NHWC[: len(rows)])

    for stored_QNChw in split_stream(batches(), plan.spec, plan.encoding, all_blocks.device, task.block.number):
        empty, bad = found.popleft()
        if empty:
            stored_QNChw[:, empty] = 0
        yield stored_QNChw, bad


def _read(
    plan: Plan,
    task: BlockTask,
    rows: range,
    raws: Iterator[RawImage | CorruptSourceError],
    images_NHWC: npt.NDArray[np.uint8],
) -> tuple[list[int], list[BadRow]]:
    """Read some rows of the block into the first images; return which are bad, by place and by record."""
    bad: list[BadRow] = []
    empty = []
    for place, row in enumerate(rows):
        row_id, name = int(task.ids[row]), task.names[row]
        try:
            raw = next(raws)
            if isinstance(raw, CorruptSourceError):
                raise raw
            images_NHWC[place] = plan.image(raw, task.block.split, task.block.start + row, row_id)
        except CorruptSourceError as error:
            bad.append(BadRow(row_id, name, str(error)))
            empty.append(place)
    return empty, bad

"""The blocks of a group, converted in one pass over their images, and the records that vouch for their files.

Input: a `BlockTask` and what all blocks have in common, all that any process on any machine needs. Output: of each
block Q part files, then its record.
A block whose record and files are there is in no task of a rerun; that is what makes it a resume.

An image is read and decoded once; each of its views goes, with those of a few images more, to the block that holds it.
"""

from __future__ import annotations

import contextlib
import math
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spectral_prep.conversion.memory import GPU_BATCHES
from spectral_prep.conversion.tasks import CONVERTING, AllBlocks, BlockTask
from spectral_prep.conversion.totals import totals
from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.images import load
from spectral_prep.images.load import Geometry
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
from spectral_prep.store.records import BadRow, BlockRecord
from spectral_prep.system.threads import torch_threads
from spectral_prep.system.watch import Step, tell


def run_blocks(all_blocks: AllBlocks, task: BlockTask) -> tuple[BlockRecord, ...]:
    """Convert the blocks of a task: of each its Q part files, then, as soon as it is complete, its record; under
    `on_error="fail"` one with bad rows writes nothing.
    """
    _require_plan(DatasetPaths(all_blocks.root))
    records, done = [], 0
    # Processes are the parallelism; no byte depends on a thread count.
    with torch_threads(1), contextlib.ExitStack() as opened:
        under_way = [_Block(all_blocks, block, opened) for block in task.group.blocks]
        for rows, stored_QNChw in stored_batches(all_blocks, task):
            block = under_way[rows.block]
            block.append(stored_QNChw, rows, task.labels[rows.images.start : rows.images.stop])
            done += len(rows.images)
            _tell(task, done)
            if block.complete:
                records.append(block.recorded())
    _tell(task, done, ended=True)
    return tuple(records)


class _Block:
    """A block that is being converted: its writer, and what its record will say.

    Parameters
    ----------
    all_blocks, block
        What it is.
    opened
        When this is left, nothing stays that was not finished.
    """

    def __init__(self, all_blocks: AllBlocks, block: Block, opened: contextlib.ExitStack) -> None:
        plan = all_blocks.plan
        self._all_blocks, self._block = all_blocks, block
        self._writer = opened.enter_context(_writer(all_blocks, block))
        self._totals_3QC = torch.zeros(3, plan.spec.q, plan.geometry.channels, dtype=torch.float64)
        self._bad: list[BadRow] = []
        self._done = 0

    @property
    def complete(self) -> bool:
        """Whether all of its rows have come."""
        return self._done == self._block.stop - self._block.start

    @property
    def _written(self) -> bool:
        return not self._bad or self._all_blocks.on_error == "skip"

    def append(self, stored_QNChw: Tensor, rows: SomeRows, labels: npt.NDArray[np.int32]) -> None:
        """Sum and write its next rows."""
        self._done += len(labels)
        self._bad += rows.bad.values()
        for piece_QnChw in torch.split(stored_QNChw, self._all_blocks.plan.batch_rows, dim=1):
            self._totals_3QC += totals(piece_QnChw)
        if self._written:
            own = labels.copy()
            own[list(rows.bad)] = BAD_LABEL
            self._writer.append(stored_QNChw.numpy(), own)

    def recorded(self) -> BlockRecord:
        """Finish its files, and then write its record, which is returned."""
        files = self._writer.finish() if self._written else ()
        record = BlockRecord(
            **vars(self._block),
            files=files,
            bad=tuple(self._bad),
            count=(self._done - len(self._bad)) * math.prod(self._all_blocks.plan.spectral_shape[1:]),
            sum=_rows_of(self._totals_3QC[0]),
            sum_of_squares=_rows_of(self._totals_3QC[1]),
            saturated=tuple(self._totals_3QC[2].sum(-1).long().tolist()),
        )
        if files:
            write_record(DatasetPaths(self._all_blocks.root).block(self._block.number), record, WRITING)
        return record


def _tell(task: BlockTask, done: int, *, ended: bool = False) -> None:
    tell(Step(str(task), done, task.group.rows, "images", within=CONVERTING, ended=ended))


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


@dataclass(frozen=True)
class SomeRows:
    """Some rows of one block: which block of the group, its first row, the images of the task that these are views of,
    and their pixels, uint8 (n, H, W, C).

    `bad` are those that could not be made, by their place among these rows.
    """

    block: int
    start: int
    images: range
    pixels: npt.NDArray[np.uint8]
    bad: dict[int, BadRow] = field(default_factory=dict)


def stored_batches(all_blocks: AllBlocks, task: BlockTask) -> Iterator[tuple[SomeRows, Tensor]]:
    """Yield, a few images after the other, the rows of each block that are views of them, and their stored spectrum
    (Q, n, C, h, w).

    For a CPU there are so few that those of a block are split and summed while they are in its cache.
    """
    plan, group = all_blocks.plan, task.group
    at_once = plan.batch_rows * (1 if chosen_device(all_blocks.device).type == "cpu" else GPU_BATCHES)
    found: deque[SomeRows] = deque()  # those that are read and not yet split

    def batches() -> Iterator[Tensor]:
        for rows in _read_rows(plan, task, min(at_once, len(task.ids))):
            found.append(rows)
            yield torch.from_numpy(rows.pixels)

    for stored_QNChw in split_stream(batches(), plan.spec, plan.encoding, all_blocks.device, group.number):
        rows = found.popleft()
        if rows.bad:
            stored_QNChw[:, list(rows.bad)] = 0
        yield rows, stored_QNChw


def _read_rows(plan: Plan, task: BlockTask, at_once: int) -> Iterator[SomeRows]:
    """Yield the rows of all blocks, for so many images after the other; their pixels are there until the next images'.

    Of decoded images one at a time is held.
    """
    group, geometry = task.group, plan.geometry
    shape = (len(group.blocks), at_once, geometry.height, geometry.width, geometry.channels)
    pixels_BNHWC = np.empty(shape, np.uint8)
    raws = raw_images(task.images, group.split, list(zip(task.ids.tolist(), task.names, strict=True)))
    blocks = list(zip(group.blocks, group.spans, pixels_BNHWC, strict=True))
    for first in range(0, len(task.ids), at_once):
        stop = min(first + at_once, len(task.ids))
        batch = []
        for number, (block, span, pixels_NHWC) in enumerate(blocks):
            if images := range(max(first, span.start), min(stop, span.stop)):
                own_NHWC = pixels_NHWC[: len(images)]
                batch.append(SomeRows(number, block.start + images.start - span.start, images, own_NHWC))
        for image in range(first, stop):
            _read(plan, task, image, next(raws), [rows for rows in batch if image in rows.images])
        yield from batch


def _read(
    plan: Plan, task: BlockTask, image: int, raw: RawImage | CorruptSourceError, held: Sequence[SomeRows]
) -> None:
    """Decode an image of the task, and put its views among the rows that hold them."""
    row_id, decoded = int(task.ids[image]), _decoded(raw, plan.geometry)
    for rows in held:
        place = image - rows.images.start
        try:
            if isinstance(decoded, CorruptSourceError):
                raise decoded
            rows.pixels[place] = plan.image(decoded, task.group.split, rows.start + place, row_id)
        except CorruptSourceError as error:
            rows.bad[place] = BadRow(row_id, task.names[image], str(error))


def _decoded(raw: RawImage | CorruptSourceError, geometry: Geometry) -> npt.NDArray[np.uint8] | CorruptSourceError:
    if isinstance(raw, CorruptSourceError):
        return raw
    try:
        return load.pixels(raw, geometry.channels, geometry.max_pixels)
    except CorruptSourceError as error:
        return error

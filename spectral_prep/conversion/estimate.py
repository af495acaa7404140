"""What a conversion will take, before it is made: bytes, files, memory and time.

Input: a plan, its source and what is done already. Output: an `Estimate`. Bytes and time are those of a seeded
sample of training rows, really converted and compressed, in memory: 8 groups of at most a chunk of rows each, whose
scatter gives the standard error. The time is that of the processor; a slow disk adds its own.
"""

from __future__ import annotations

import functools
import json
import math
import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spectral_prep.conversion.agree import Conversion, open_conversion
from spectral_prep.conversion.execution import BY_DEFAULT, Execution
from spectral_prep.conversion.finished import finished_blocks
from spectral_prep.conversion.memory import Memory, memory_of
from spectral_prep.conversion.request import Request
from spectral_prep.conversion.row_index import index_pieces
from spectral_prep.conversion.sample import sample_ids
from spectral_prep.conversion.tasks import all_blocks, block_task
from spectral_prep.conversion.workers import choose_workers, sampling_workers
from spectral_prep.encoding import expected_psnr
from spectral_prep.engines.interface import Late
from spectral_prep.engines.processes import run_all
from spectral_prep.errors import StorageError
from spectral_prep.places.url import Place
from spectral_prep.sources.interface import RowIndex
from spectral_prep.sources.name_list import some
from spectral_prep.store import STORES
from spectral_prep.store.block_groups import BlockGroup, block_groups
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.store.plan_record import Block, Plan, SplitPlan
from spectral_prep.system.staging import staged_bytes, staging_folder
from spectral_prep.system.units import size
from spectral_prep.system.watch import counted

GROUPS = 8
FEWEST_ROWS = 64
ENTRY_BYTES = 200
"""A file's entry in a record, as JSON; a part has three, other files of a spectral folder two."""
RECORD_BYTES = 2 << 10
"""A `spectral.json` without files and classes."""
NAMED_ROWS = 1000
SAMPLING = Execution(on_error="skip", device="cpu")
CONVERT_GROUP = Late("spectral_prep.conversion.sampled", "convert_group")
"""What a worker does with an `AllBlocks` and the `BlockTask` of a group; it needs torch."""


@dataclass(frozen=True)
class SampledGroup:
    """What a row of one group of the sample took: bytes over all spectrals, and seconds.

    `energy` is the variance of each spectral, (Q,).
    """

    number: int
    bytes_a_row: float
    seconds_a_row: float
    energy: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """What a sample of rows took: bytes a row over all spectrals, its standard error, seconds a row of one process.

    `psnr` is about what the images keep, in dB, None where they keep every pixel.
    """

    rows: int
    bytes_a_row: float
    standard_error: float
    seconds_a_row: float
    psnr: float | None


@dataclass(frozen=True)
class Estimate:
    """What a conversion takes in all and from here on.

    `bytes` are of the whole data set and `remaining_bytes` of what is not written yet, as is `seconds`, on this machine
    with `workers` processes; `free_bytes` are at the output, None for a bucket. `scratch_bytes` are what the source
    will put there, `staged_bytes` what it put there already, until the conversion ends. `units` are the groups of
    blocks that remain, of which a task has whole ones. Views are timed as if each image were decoded once for all of
    them; some are decoded twice.
    """

    plan: Plan
    sample: Sample
    files_a_spectral: int
    files: int
    bytes: int
    standard_error: int
    remaining_rows: int
    remaining_bytes: int
    scratch_bytes: int
    free_bytes: int | None
    memory: Memory
    workers: int
    tasks: int
    units: int
    staged_bytes: int = 0

    @property
    def peak_memory(self) -> int:
        """Bytes at most, of all processes together."""
        return self.memory.peak(self.workers)

    @property
    def needed_bytes(self) -> int:
        """Room for what remains: two standard errors more than expected."""
        if not self.remaining_rows:
            return 0
        share = self.remaining_rows / self.plan.rows
        return self.remaining_bytes + self.scratch_bytes + round(2 * self.standard_error * share)

    @property
    def enough_room(self) -> bool:
        """Whether what remains fits."""
        return self.free_bytes is None or self.needed_bytes <= self.free_bytes

    @property
    def seconds(self) -> float:
        """Of all that remains, on this machine."""
        return self.remaining_rows * self.sample.seconds_a_row / self.workers

    @property
    def busy_tasks(self) -> int:
        """Tasks that have anything to do."""
        return max(1, min(self.tasks, self.units))

    @property
    def seconds_a_task(self) -> float:
        """Of each of these, if all work at the same time on machines like this one."""
        return self.seconds / self.busy_tasks

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form for `--json`."""
        q = self.plan.spec.q
        return {
            "dataset": self.plan.title,
            "plan_id": self.plan.plan_id,
            "rows": {name: part.rows for name, part in self.plan.splits.items()},
            "classes": len(self.plan.classes),
            "spectrals": q,
            "dtype": self.plan.encoding.dtype,
            "psnr": self.sample.psnr,
            "blocks": len(self.plan.blocks),
            "sampled_rows": self.sample.rows,
            "bytes": self.bytes,
            "bytes_standard_error": self.standard_error,
            "spectral_bytes": self.bytes // q,
            "spectral_bytes_standard_error": self.standard_error // q,
            "files": self.files,
            "files_a_spectral": self.files_a_spectral,
            "remaining_rows": self.remaining_rows,
            "needed_bytes": self.needed_bytes,
            "free_bytes": self.free_bytes,
            "enough_room": self.enough_room,
            "workers": self.workers,
            "peak_memory": self.peak_memory,
            "seconds": self.seconds,
            "tasks": self.tasks,
            "seconds_a_task": self.seconds_a_task,
        }


def estimate(request: Request, source: Place, out: Place, execution: Execution = BY_DEFAULT) -> Estimate:
    """Say what `convert` with the same arguments would take; nothing is written but scratch files elsewhere.

    Of `execution.task` only the count matters, the number of machines.

    Raises
    ------
    InputError, PlanMismatchError, CorruptSourceError
        As `convert` does.
    """
    with staging_folder(None) as staging:
        conversion = open_conversion(DatasetPaths(out), request, source, staging, execution)
        finished = {record.number for record in finished_blocks(conversion.paths, conversion.plan)}
        pending = [left for group in block_groups(conversion.plan) if (left := group.without(finished))]
        found = estimate_pending(conversion, pending, execution)
        return replace(found, scratch_bytes=staged_bytes(staging) if pending else 0)


def estimate_pending(
    conversion: Conversion, pending: Sequence[BlockGroup], execution: Execution, share: float = 1.0
) -> Estimate:
    """Estimate what converting the pending blocks takes, from at most this share of their rows.

    Raises
    ------
    InputError
        If `execution.max_memory` does not allow a single worker; the message tells what it needs.
    """
    plan, index, tasks = conversion.plan, conversion.index, execution.task.count
    remaining = sum(group.rows for group in pending)
    sample = take_sample(conversion, remaining, max(FEWEST_ROWS, int(share * remaining)), execution)
    memory = memory_of(plan, conversion.paths.root, elsewhere=execution.engine.elsewhere)
    chosen = choose_workers(plan, pending[::tasks], memory, execution)
    side_files, side_bytes = _beside(plan, index)
    others = len(plan.splits) + 3 + len(plan.blocks)  # row indexes; plan, manifest and card; block records
    files_a_spectral = len(plan.blocks) + side_files + 1
    overhead = plan.spec.q * (side_bytes + (3 * len(plan.blocks) + 2 * side_files) * ENTRY_BYTES + RECORD_BYTES)
    overhead += sum(_padding_bytes(plan, part.rows, part.chunk_rows) for part in plan.splits.values())
    overhead += sum(map(_index_bytes, index.values())) + len(json.dumps(plan.classes)) * (plan.spec.q + 1)
    return Estimate(
        plan=plan,
        sample=sample,
        files_a_spectral=files_a_spectral,
        files=plan.spec.q * files_a_spectral + others,
        bytes=round(plan.rows * sample.bytes_a_row) + overhead,
        standard_error=round(plan.rows * sample.standard_error),
        remaining_rows=remaining,
        remaining_bytes=round(remaining * sample.bytes_a_row) + (overhead if remaining else 0),
        scratch_bytes=0,
        free_bytes=_free(conversion.paths.root),
        memory=memory,
        workers=chosen,
        tasks=tasks,
        units=len(pending),
    )


def refuse_without_room(found: Estimate, out: Place) -> None:
    """Raise StorageError if what remains does not fit at `out`."""
    if not found.enough_room:
        staged = f", beside {size(found.staged_bytes)} of scratch files" if found.staged_bytes else ""
        raise StorageError(
            "not enough room on the disk for what is still to be written",
            where=out,
            expected=f"{found.needed_bytes:,} bytes free",
            got=f"{found.free_bytes:,}{staged}",
            run="the same command after making room, with --out on another disk, or with --no-space-check",
        )


def take_sample(conversion: Conversion, pending: int, at_most: int, execution: Execution) -> Sample:
    """Convert all views of a seeded sample of training images, in groups of at most a chunk; measure what rows take.

    Several processes do so if they are worth it for so many pending rows.
    """
    plan, source = conversion.plan, conversion.source
    part = plan.splits["train"]
    wanted = max(GROUPS, min(GROUPS * part.chunk_rows, at_most) // part.views)
    images = sample_ids(source, part.images, wanted, plan.seed)
    rows = len(images) * part.views
    workers = 1
    if source.random_access:
        workers = sampling_workers(rows, pending, plan.geometry, memory_of(plan, conversion.paths.root), execution)
    groups = np.array_split(images, min(GROUPS, len(images)))
    tasks = (block_task(conversion, _all_views(i, len(ids), part.views), ids) for i, ids in enumerate(groups))
    work = functools.partial(CONVERT_GROUP, all_blocks(conversion.paths.root, plan, SAMPLING))
    done = counted(run_all(work, tasks, workers), "converting a sample", "groups", len(groups))
    found = sorted(done, key=lambda group: group.number)
    scatter = statistics.stdev(group.bytes_a_row for group in found) if len(found) > 1 else 0.0
    error = scatter * math.sqrt((1 - len(images) / part.images) / len(found))
    psnr = plan.psnr or expected_psnr(plan.encoding, np.mean([group.energy for group in found], axis=0))
    return Sample(
        rows,
        statistics.fmean(group.bytes_a_row for group in found),
        error,
        statistics.median(group.seconds_a_row for group in found),
        psnr,
    )


def _all_views(number: int, images: int, views: int) -> BlockGroup:
    """Return the blocks of a group of the sample, one a view, each of all its images."""
    blocks = (Block(view, "train", view * images, (view + 1) * images) for view in range(views))
    return BlockGroup(number, "train", images, tuple(blocks))


def _padding_bytes(plan: Plan, rows: int, chunk_rows: int) -> int:
    """Return what the rows that are missing in a split's last chunk take over all spectrals, measured on black rows."""
    missing = -rows % chunk_rows
    black_QNChw = np.zeros((plan.spec.q, 1, *plan.spectral_shape), plan.encoding.dtype)
    label = np.zeros(1, np.int32)
    padded, bare = (part_bytes(plan, black_QNChw, label, count) for count in (missing + 1, 1))
    return padded - bare


def part_bytes(plan: Plan, stored_QNChw: npt.NDArray[Any], labels: npt.NDArray[np.int32], chunk_rows: int) -> int:
    """Return how many bytes the Q parts take that hold these rows alone, in one chunk."""
    split = SplitPlan(len(labels), chunk_rows, chunk_rows, "")
    array = replace(plan, splits={"train": split}).array("train", 0)
    encoder = STORES[plan.store].encoder(array, plan.spec.q, 0)
    return sum(map(len, encoder.chunk(stored_QNChw, labels))) + sum(map(len, encoder.end()))


def _beside(plan: Plan, index: Mapping[str, RowIndex]) -> tuple[int, int]:
    """Return how many files, and bytes, a spectral folder has beside its parts and `spectral.json`."""
    arrays = {name: plan.array(name, 0) for name in plan.splits}
    ids = {name: plan.ids(name) for name in plan.splits}
    labels = {name: index[name].labels[ids[name]] for name in plan.splits}
    store = STORES[plan.store]
    objects = store.label_files(labels, ids) | store.metadata_files(arrays, {})
    return len(objects), sum(map(len, objects.values()))


def _index_bytes(rows: RowIndex) -> int:
    """Return about how long a row index is on disk, from rows that are evenly spread."""
    places = np.linspace(0, len(rows.names), min(NAMED_ROWS, len(rows.names)), endpoint=False).astype(int)
    spread = RowIndex(some(rows.names, places), rows.labels[places])
    return sum(map(len, index_pieces(spread))) * len(rows.names) // max(1, len(places))


def _free(out: Place) -> int | None:
    """Return the bytes that are free where a folder is or will be, None for a bucket, which has no end."""
    if not isinstance(out, Path):
        return None
    existing = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free

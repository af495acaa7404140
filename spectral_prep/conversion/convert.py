"""Doing what the plan says: source images → row-aligned spectral folders.

1. The row index and the plan are written before any image is converted.
2. Each block is converted on its own, in any order, by any process (`block`).
3. The data set is completed (`finalize`): the manifest comes last.

A kill at any moment leaves finished blocks and at most some temporary files; the bytes in the end are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from spectral_prep.conversion.agree import agreed_plan, fix
from spectral_prep.conversion.block import OnError, finished_blocks, run_block
from spectral_prep.conversion.estimate import Estimate, Limits, estimate, refuse_without_room
from spectral_prep.conversion.finalize import finalize, is_complete
from spectral_prep.conversion.request import Request
from spectral_prep.conversion.tasks import ALONE, Task, block_tasks
from spectral_prep.errors import CorruptSourceError
from spectral_prep.kernel.stream import Device, chosen_device
from spectral_prep.sources import open_source
from spectral_prep.store.layout import WRITING, DatasetPaths
from spectral_prep.store.plan_record import Block, Plan
from spectral_prep.store.records import BadRow, BlockRecord
from spectral_prep.system.files import remove, remove_empty
from spectral_prep.system.locks import if_unused, shared_use
from spectral_prep.system.staging import staging_folder
from spectral_prep.system.workers import run_all

SAMPLED_SHARE = 1 / 16
"""Of the pending rows, converted beforehand to estimate the rest."""


@dataclass(frozen=True)
class Progress:
    """How far a conversion is: what callbacks get, first when it starts and then after each block.

    Of each split `done` are the rows that are converted, `wanted` those that will be when this task has ended.
    """

    plan: Plan
    done: Mapping[str, int]
    wanted: Mapping[str, int]
    block: BlockRecord | None
    estimate: Estimate | None = None

    @property
    def finished(self) -> bool:
        """Whether every wanted row is done."""
        return self.done == self.wanted


def convert(
    request: Request,
    source: Path,
    out: Path,
    *,
    task: Task = ALONE,
    workers: int | None = None,
    max_memory: int | None = None,
    on_error: OnError = "fail",
    device: Device = "auto",
    space_check: bool = True,
    progress: Callable[[Progress], None] = lambda _: None,
) -> DatasetPaths:
    """Convert a data set into Q spectral folders under `out`; called again with the same request it goes on.

    Parameters
    ----------
    request, source
        What is wanted, and where that release lies.
    task
        One of several that share the blocks and the folder; the data set is then completed by `finalize`.
    workers
        Processes; default: the CPUs that this process may use, fewer for small sets. The output does not depend on it.
    max_memory
        Bytes that all processes together may take: it limits the workers. Default: the control group's limit.
    on_error
        `fail`: bad images are all listed at the end and the data set is not completed. `skip`: they keep their slot.
    device
        Where the transform is computed; `auto` is a GPU where there is one. With the kernels no byte depends on it.
    space_check
        Whether to refuse what will not fit on the disk.

    Raises
    ------
    InputError
        For arguments or paths that cannot be used.
    StorageError
        If what remains will not fit, or the disk fails.
    PlanMismatchError
        If `out` was begun with another plan.
    CorruptSourceError
        If images or labels are damaged.
    """
    chosen_device(device)
    paths = DatasetPaths(out)
    complete = is_complete(paths)  # then nothing is written there: it may be read-only
    with shared_use(out, WRITING), staging_folder(None if complete else out) as staging:
        opened = open_source(request.dataset, source, staging)
        index = opened.index()
        plan = agreed_plan(paths, opened, index, request)
        records = {record.number: record for record in finished_blocks(paths, plan, on_error)}
        pending = [block for block in plan.blocks if block.number not in records]
        own = [block for block in pending if task.has(block)]
        done = _rows(plan, records.values())
        wanted = _rows(plan, [*records.values(), *own])
        limits = Limits(task.count, workers, max_memory)
        found = estimate(plan, opened, index, pending, out, limits, SAMPLED_SHARE) if pending else None
        progress(Progress(plan, done, wanted, None, found))
        if found and space_check:
            refuse_without_room(found, out)
        if pending or not complete:
            fix(paths, plan, index)
        if pending:  # a data set whose blocks are missing is not complete, whatever an earlier run said
            remove(paths.manifest)
        bad: list[tuple[str, BadRow]] = []
        tasks = block_tasks(out, plan, opened, index, own, on_error, device)
        for record in run_all(run_block, tasks, found.workers if found else 1):
            bad += [(record.split, row) for row in record.bad]
            done[record.split] += record.stop - record.start
            progress(Progress(plan, done, wanted, record))
    if bad and on_error == "fail":
        if_unused(out, remove_empty)  # the folders of parts that were begun
        raise _bad_images(bad, paths)
    if task == ALONE and (pending or not complete):
        finalize(out)
    return paths


def _rows(plan: Plan, blocks: Iterable[Block | BlockRecord]) -> dict[str, int]:
    """Return how many rows of each split these blocks have."""
    rows = dict.fromkeys(plan.splits, 0)
    for block in blocks:
        rows[block.split] += block.stop - block.start
    return rows


def _bad_images(bad: list[tuple[str, BadRow]], paths: DatasetPaths) -> CorruptSourceError:
    listed = "".join(sorted(f"\n  {split}: {row.name}: {row.reason}" for split, row in bad))
    return CorruptSourceError(
        f"{len(bad)} images cannot be converted, so the data set is not complete; all other blocks are kept",
        where=paths.root,
        got=f"{listed}\n",
        run="replace them under the same names, then the same command; or add --on-error skip",
    )

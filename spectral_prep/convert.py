"""Doing what the plan says: source images → row-aligned spectral folders.

1. The row index and the plan are written before any image is converted.
2. Each block is converted on its own, in any order, by any process (`block.py`).
3. The data set is completed (`finalize.py`): the manifest comes last.

A kill at any moment leaves finished blocks and at most some temporary files; the bytes in the end are the same.
"""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from spectral_prep.block import BadRow, BlockRecord, BlockTask, OnError, finished_blocks, run_block
from spectral_prep.compare import differences
from spectral_prep.engines import run_all
from spectral_prep.errors import CorruptSourceError, InputError, PlanMismatchError
from spectral_prep.finalize import finalize, is_complete
from spectral_prep.manifest import read_record, write_record
from spectral_prep.plan import Block, Plan, make_plan
from spectral_prep.request import Request
from spectral_prep.resources import usable_cpus
from spectral_prep.rows import index_pieces, index_sha256
from spectral_prep.sources import open_source
from spectral_prep.sources.base import RowIndex, Source
from spectral_prep.store.files import atomic_write, in_use, is_temporary, remove
from spectral_prep.store.layout import STAGING_PREFIX, DatasetPaths

PIXELS_A_WORKER = 64 << 20


@dataclass(frozen=True)
class Progress:
    """How far a conversion is: what callbacks get, first when it starts and then after each block."""

    plan: Plan
    done: Mapping[str, int]
    block: BlockRecord | None

    @property
    def finished(self) -> bool:
        """Whether every row of every split is done."""
        return all(self.done[name] == part.rows for name, part in self.plan.splits.items())


def convert(
    request: Request,
    source: Path,
    out: Path,
    *,
    workers: int | None = None,
    on_error: OnError = "fail",
    progress: Callable[[Progress], None] = lambda _: None,
) -> DatasetPaths:
    """Convert a data set into Q spectral folders under `out`; called again with the same request it goes on.

    Parameters
    ----------
    request, source
        What is wanted, and where that release lies.
    workers
        Processes; default: the CPUs that this process may use, fewer for small sets. The output does not depend on it.
    on_error
        `fail`: bad images are all listed at the end and the data set is not completed. `skip`: they keep their slot.

    Raises
    ------
    InputError
        For arguments or paths that cannot be used.
    PlanMismatchError
        If `out` was begun with another plan.
    CorruptSourceError
        If images or labels are damaged.
    """
    paths = DatasetPaths(out)
    _refuse_foreign(paths)
    with in_use(out), _staging(out) as staging:
        opened = open_source(request.dataset, source, staging)
        index = opened.index()
        plan = _fixed_plan(paths, opened, index, request)
        records = {record.number: record for record in finished_blocks(paths, plan, on_error)}
        done = {name: sum(r.stop - r.start for r in records.values() if r.split == name) for name in plan.splits}
        progress(Progress(plan, done, None))
        pending = [block for block in plan.blocks if block.number not in records]
        if pending:  # a data set whose blocks are missing is not complete, whatever an earlier run said
            remove(paths.manifest)
        bad: list[tuple[str, BadRow]] = []
        tasks = _tasks(paths, plan, opened, index, pending, on_error)
        for record in run_all(run_block, tasks, workers or _worth_starting(plan, pending)):
            records[record.number] = record
            bad += [(record.split, row) for row in record.bad]
            done[record.split] += record.stop - record.start
            progress(Progress(plan, done, record))
    if bad and on_error == "fail":
        raise _bad_images(bad, paths)
    if not is_complete(paths):
        finalize(out)
    return paths


@contextlib.contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """Yield a folder, not made yet, on the disk of the output, where a source may unpack what has no random access."""
    folder = out / f"{STAGING_PREFIX}{uuid.uuid4().hex[:12]}"
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _refuse_foreign(paths: DatasetPaths) -> None:
    if paths.plan.exists() or not paths.root.exists():
        return
    if not paths.root.is_dir():
        raise InputError("the output is not a folder", where=paths.root)
    foreign = [
        entry.name
        for entry in paths.root.iterdir()
        if not (
            entry.name == paths.rows("").parent.name or is_temporary(entry) or entry.name.startswith(STAGING_PREFIX)
        )
    ]
    if foreign:
        raise InputError(
            "the output folder holds something else",
            where=paths.root,
            expected="an empty folder or an unfinished conversion",
            got=", ".join(sorted(foreign)[:5]),
            run="the same command with another --out",
        )


def _fixed_plan(paths: DatasetPaths, source: Source, index: Mapping[str, RowIndex], request: Request) -> Plan:
    """Return the plan that stands in the output folder, or make it and write it there.

    A plan that stands there also gives the int8 scalars, so that resuming does not calibrate again.
    """
    hashes = {name: index_sha256(rows) for name, rows in index.items()}
    fixed = Plan.from_dict(read_record(paths.plan, "plan")) if paths.plan.exists() else None
    plan = make_plan(source, index, hashes, request, fixed.encoding if fixed else None)
    if fixed is not None and (found := differences(fixed.to_dict(), plan.to_dict())):
        raise PlanMismatchError(
            "this folder was begun with another configuration",
            where=paths.plan,
            got="; ".join(found),
            run="the command of the first run, or this one with another --out",
        )
    for name in plan.splits:
        if not paths.rows(name).exists():
            atomic_write(paths.rows(name), index_pieces(index[name]))
    if fixed is None:
        write_record(paths.plan, "plan", plan.to_dict())
    return plan


def _worth_starting(plan: Plan, pending: list[Block]) -> int:
    """Return how many workers to start: a process costs as much as converting some 64 MiB of pixels."""
    geometry = plan.geometry
    pixels = sum(block.stop - block.start for block in pending) * geometry.height * geometry.width * geometry.channels
    return max(1, min(usable_cpus(), len(pending), pixels // PIXELS_A_WORKER))


def _tasks(
    paths: DatasetPaths,
    plan: Plan,
    source: Source,
    index: Mapping[str, RowIndex],
    pending: Iterable[Block],
    on_error: OnError,
) -> Iterator[BlockTask]:
    order = {name: plan.ids(name) for name in plan.splits}
    for block in pending:
        ids = order[block.split][block.start : block.stop]
        names = [index[block.split].names[i] for i in ids.tolist()]
        yield BlockTask(paths.root, plan, source, block, ids, names, index[block.split].labels[ids], on_error)


def _bad_images(bad: list[tuple[str, BadRow]], paths: DatasetPaths) -> CorruptSourceError:
    listed = "".join(sorted(f"\n  {split}: {row.name}: {row.reason}" for split, row in bad))
    return CorruptSourceError(
        f"{len(bad)} images cannot be converted, so the data set is not complete; all other blocks are kept",
        where=paths.root,
        got=f"{listed}\n",
        run="replace them under the same names, then the same command; or add --on-error skip",
    )

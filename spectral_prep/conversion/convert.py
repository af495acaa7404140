"""Doing what the plan says: source images → row-aligned spectral folders.

1. The row index and the plan are written before any image is converted.
2. Each group of blocks is converted on its own, in any order, by any process (`block`).
3. The data set is completed (`finalize`): the manifest comes last.

A kill at any moment leaves finished blocks and at most some temporary files; the bytes in the end are the same.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from spectral_prep.conversion import bad_images
from spectral_prep.conversion.agree import Conversion, fix, open_conversion
from spectral_prep.conversion.catalogue import has_catalogue, open_catalogue, write_catalogue
from spectral_prep.conversion.estimate import Estimate, estimate_pending, refuse_without_room
from spectral_prep.conversion.execution import ALONE, BY_DEFAULT, Execution
from spectral_prep.conversion.finalize import finalize, is_complete
from spectral_prep.conversion.finished import finished_blocks
from spectral_prep.conversion.memory import memory_of, needs_of
from spectral_prep.conversion.request import Request
from spectral_prep.conversion.tasks import CONVERTING, RUN_BLOCKS, AllBlocks, BlockTask, all_blocks, block_tasks
from spectral_prep.conversion.workers import choose_workers
from spectral_prep.engines.interface import Engine
from spectral_prep.errors import InputError
from spectral_prep.places import at, exists
from spectral_prep.places.url import AnyPlace, Place, absolute
from spectral_prep.store.block_groups import BlockGroup, block_groups
from spectral_prep.store.layout import WRITING, DatasetPaths
from spectral_prep.store.plan_record import Block, Plan
from spectral_prep.store.records import BadRow, BlockRecord
from spectral_prep.system.staging import staged_bytes, staging_folder
from spectral_prep.system.watch import Step, tell

SAMPLED_SHARE = 1 / 64
"""Of the pending rows, converted beforehand to estimate the rest."""


@dataclass(frozen=True)
class Progress:
    """How far a conversion is: what callbacks get, first when it starts and then for each block, group by group.

    Of each split `done` are the rows of this task that are converted, `wanted` those that it has.
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
    source: Place,
    out: AnyPlace,
    execution: Execution = BY_DEFAULT,
    progress: Callable[[Progress], None] = lambda _: None,
) -> DatasetPaths[AnyPlace]:
    """Convert a data set into Q spectral folders under `out`; called again with the same request it goes on.

    The simplest call, of a data set that scikit-learn brings; a real one lies in the folder `source`:

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> source, out = Path(folder.name) / "none", Path(folder.name)
    >>> paths = convert(Request("digits", "4"), source, out / "digits")
    >>> sorted(path.name for path in paths.root.iterdir())  # doctest: +ELLIPSIS
    ['README.md', 'blocks', 'manifest.json', 'plan.json', 'rows', 'spectral-00', ..., 'spectral-03']

    The same call again finds that nothing is left to do. What is written, and how, is the request's:

    >>> request = Request("digits", "1x2", dtype="float16", format="webdataset", shuffle="none", block_rows=800)
    >>> tars = convert(request, source, out / "tars")
    >>> sorted(path.name for path in tars.spectral(1).root.glob("*.tar"))
    ['test-00000.tar', 'train-00000.tar', 'train-00001.tar']

    How the work is done decides no byte. Two machines share it here, and `finalize` completes the data set:

    >>> from spectral_prep.conversion.execution import Task
    >>> for number in range(2):
    ...     shared = convert(request, source, out / "shared", Execution(Task(number, 2), workers=1, max_memory=4 << 30))
    >>> finalize(out / "shared").manifest.read_bytes() == tars.manifest.read_bytes()
    True

    Bad images end a conversion, unless they are to keep their slots; a callback hears how far it is:

    >>> counts = []
    >>> execution = Execution(workers=1, on_error="skip", device="cpu", space_check=False)
    >>> again = convert(request, source, out / "again", execution, lambda told: counts.append(sum(told.done.values())))
    >>> counts
    [0, 800, 1438, 1797]
    >>> folder.cleanup()

    Parameters
    ----------
    request, source
        What is wanted, and where that release lies.
    out
        The folder of the data set: not there yet, empty, or begun with the same request.
    execution
        By how many machines, processes and bytes of memory, on what device, and what becomes of bad images.
    progress
        Called when the conversion starts and after each block.

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
    engine = execution.engine
    if engine.elsewhere:  # where another folder may be the current one
        source, out = absolute(source), absolute(out)
    elif execution.device == "cuda":
        _require_gpu()
    paths, on_error = DatasetPaths(out), execution.on_error
    complete = is_complete(paths)  # then nothing is written there: it may be read-only
    if complete:  # by a process that may have been killed before the last names were on the disk
        at(out).sync(WRITING)
    scratch = staging_folder(None if complete else out)
    with at(out).shared_use(WRITING), scratch as staging, contextlib.ExitStack() as started:
        planned = exists(paths.plan)
        begun = open_catalogue(paths, request, source) or open_conversion(paths, request, source, staging, execution)
        opened, plan = begun if isinstance(begun, Conversion) else None, begun.plan
        groups = [group for group in block_groups(plan) if execution.task.has(group.number)]
        own = [block for group in groups for block in group.blocks]
        records = {record.number: record for record in finished_blocks(paths, plan, on_error, own)}
        pending = [left for group in groups if (left := group.without(records))]
        done, wanted = _rows(plan, records.values()), _rows(plan, own)
        if pending:
            started.enter_context(engine.started())
        if opened and pending:
            _refuse_unseen(opened, engine)
        first = execution.task == ALONE or not planned  # further tasks do not estimate what was estimated
        found = _estimated(opened, pending, execution, staging) if opened and pending and first else None
        progress(Progress(plan, done, wanted, None, found))
        _tell(done, wanted)
        if found and execution.space_check:
            refuse_without_room(found, out)
        if opened and (pending or not complete):
            fix(opened)
            if execution.task != ALONE and not (planned and has_catalogue(paths)):  # others begin from it
                write_catalogue(opened, request, source)
        if pending:  # a data set whose blocks are missing is not complete, whatever an earlier run said
            at(paths.manifest).remove()
        bad: list[tuple[str, BadRow]] = []
        tasks = block_tasks(begun, pending) if isinstance(begun, Conversion) else map(begun.task, pending)
        for record in _converted(all_blocks(out, plan, execution), tasks, pending, execution, found) if pending else ():
            bad += [(record.split, row) for row in record.bad]
            done[record.split] += record.stop - record.start
            progress(Progress(plan, done, wanted, record))
            _tell(done, wanted)
    if bad and on_error == "fail":
        at(out).prune()  # the folders of parts that were begun
        raise bad_images.refusal(bad, paths, execution.task)
    if complete and not pending:
        at(out).tidy(WRITING)
    elif execution.task == ALONE:
        finalize(out)
    return paths


def begin(
    request: Request,
    source: Place,
    out: AnyPlace,
    execution: Execution = BY_DEFAULT,
    progress: Callable[[Progress], None] = lambda _: None,
) -> DatasetPaths[AnyPlace]:
    """Do once what the tasks of an array would otherwise each do: open the source, calibrate, write plan and catalogue.

    `progress` is called once, with the estimate of the whole, unless it was begun before. Of `execution` count memory,
    workers and `space_check`.

    Raises
    ------
    InputError, StorageError, PlanMismatchError, CorruptSourceError
        As `convert` does; `StorageError` if the whole data set will not fit.
    """
    paths = DatasetPaths(out)
    with at(out).shared_use(WRITING), staging_folder(out) as staging:
        if open_catalogue(paths, request, source) is None:
            conversion = open_conversion(paths, request, source, staging, execution)
            plan, found = conversion.plan, _estimated(conversion, block_groups(conversion.plan), execution, staging)
            progress(Progress(plan, dict.fromkeys(plan.splits, 0), _rows(plan, plan.blocks), None, found))
            if execution.space_check:
                refuse_without_room(found, out)
            fix(conversion)
            write_catalogue(conversion, request, source)
    return paths


def _estimated(conversion: Conversion, pending: Sequence[BlockGroup], execution: Execution, staging: Path) -> Estimate:
    found = estimate_pending(conversion, pending, replace(execution, task=ALONE), SAMPLED_SHARE)
    return replace(found, staged_bytes=staged_bytes(staging) if isinstance(conversion.paths.root, Path) else 0)


def _converted(
    common: AllBlocks,
    tasks: Iterator[BlockTask],
    groups: Sequence[BlockGroup],
    execution: Execution,
    found: Estimate | None,
) -> Iterator[BlockRecord]:
    """Yield the records of each group when it is done, in the memory and by the workers that were estimated, if any."""
    memory = found.memory if found else memory_of(common.plan, common.root, elsewhere=execution.engine.elsewhere)
    workers = found.workers if found else choose_workers(common.plan, groups, memory, execution)
    work = functools.partial(RUN_BLOCKS, common)
    for records in execution.engine.run(work, tasks, workers, needs_of(memory, execution.device)):
        yield from records


def _require_gpu() -> None:
    from spectral_prep.kernel.stream import chosen_device

    chosen_device("cuda")


def _refuse_unseen(conversion: Conversion, engine: Engine) -> None:
    """Refuse what workers on other machines could not read: scratch files that lie on this machine alone."""
    out = conversion.paths.root
    if engine.elsewhere and conversion.source.needs_scratch and not isinstance(out, Path):
        raise InputError(
            "this source is read through scratch files, which lie on this machine alone if the output is in a bucket",
            where=out,
            expected="--out on a file system that all nodes share",
            run="the same command with --engine processes, or with such an --out",
        )


def _tell(done: Mapping[str, int], wanted: Mapping[str, int]) -> None:
    count, total = sum(done.values()), sum(wanted.values())
    tell(Step(CONVERTING, count, total, "images", ended=count == total))


def _rows(plan: Plan, blocks: Iterable[Block | BlockRecord]) -> dict[str, int]:
    """Return how many rows of each split these blocks have."""
    rows = dict.fromkeys(plan.splits, 0)
    for block in blocks:
        rows[block.split] += block.stop - block.start
    return rows

"""Which blocks need not be done again: their record is whole, and their parts are there.

Input: a data set that was begun, and its plan. Output: the records of those blocks. In a bucket it is the number of
requests that counts: records are read many at a time, and parts are listed, not asked for one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from spectral_prep.choices import OnError
from spectral_prep.errors import CorruptFileError, InputError
from spectral_prep.places import at
from spectral_prep.places.url import Place, below
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.store.plan_record import Block, Plan
from spectral_prep.store.planned import part_paths, read_block
from spectral_prep.store.records import BlockRecord

AT_ONCE = 8
FEW_PARTS = 512
"""So many are asked for, not listed: a page of a list holds a thousand."""


def finished_blocks(
    paths: DatasetPaths, plan: Plan, on_error: OnError = "skip", blocks: Sequence[Block] | None = None
) -> Iterator[BlockRecord]:
    """Yield the records of blocks, all of the plan's unless said, that need not be done again: record whole, of this
    block of the plan, files there with the right size.

    Under `on_error="fail"` a block that an earlier run finished with bad rows is done again: they may be mended.
    """
    recorded = set(at(paths.blocks).names()) if at(paths.blocks).is_folder() else set()
    begun = [b for b in (plan.blocks if blocks is None else blocks) if paths.block(b.number).name in recorded]
    sizes = _sizes(paths, plan, begun)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for record in pool.map(lambda block: _record(paths, plan, block), begun):
            if record is None or (record.bad and on_error == "fail"):
                continue
            if all(sizes.get(entry.path) == entry.size for entry in record.files):
                yield record


def _record(paths: DatasetPaths, plan: Plan, block: Block) -> BlockRecord | None:
    try:
        return read_block(paths, plan, block)
    except (InputError, CorruptFileError):
        return None


def _sizes(paths: DatasetPaths, plan: Plan, blocks: Sequence[Block]) -> dict[str, int | None]:
    """Return the size of each part of these blocks, by its path in the data set."""
    parts: list[Place] = [part for block in blocks for part in part_paths(paths, plan, block)]
    if len(parts) > FEW_PARTS:
        return {entry.path: entry.size for entry in at(paths.root).files()}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        sizes = pool.map(lambda part: at(part).size(), parts)
        return {below(paths.root, part): size for part, size in zip(parts, sizes, strict=True)}

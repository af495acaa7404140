"""What a worker needs for one block of a conversion, wherever it runs.

Input: a conversion and the blocks that are pending. Output: what these have in common, and their `BlockTask`s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from spectral_prep.conversion.agree import Conversion
from spectral_prep.conversion.block import AllBlocks, BlockTask
from spectral_prep.conversion.execution import Execution
from spectral_prep.places.url import Place
from spectral_prep.store.plan_record import Block, Plan


def all_blocks(root: Place, plan: Plan, execution: Execution) -> AllBlocks:
    """Return what a worker needs once for all blocks; other machines' GPUs are used only if the user says so."""
    device = "cpu" if execution.engine.elsewhere and execution.device == "auto" else execution.device
    return AllBlocks(root, plan, execution.on_error, device)


def block_tasks(conversion: Conversion, blocks: Iterable[Block]) -> Iterator[BlockTask]:
    """Yield what a worker needs for each block; only its own names and places are looked up."""
    order = {name: conversion.plan.ids(name) for name in conversion.plan.splits}
    for block in blocks:
        yield block_task(conversion, block, order[block.split][block.start : block.stop])


def block_task(conversion: Conversion, block: Block, ids: npt.NDArray[np.int32]) -> BlockTask:
    """Return what a worker needs for one block of the rows with these ids."""
    rows = conversion.index[block.split]
    return BlockTask(
        block=block,
        ids=ids,
        names=[rows.names[i] for i in ids.tolist()],
        labels=rows.labels[ids],
        images=conversion.source.for_rows(block.split, ids),
    )

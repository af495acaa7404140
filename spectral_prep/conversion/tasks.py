"""What a worker needs for one block of a conversion, wherever it runs.

Input: a conversion and the blocks that are pending. Output: `BlockTask`s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from spectral_prep.conversion.agree import Conversion
from spectral_prep.conversion.block import BlockTask
from spectral_prep.conversion.execution import Execution
from spectral_prep.store.plan_record import Block


def block_tasks(conversion: Conversion, blocks: Iterable[Block], execution: Execution) -> Iterator[BlockTask]:
    """Yield what a worker needs for each block; only its own names are looked up."""
    order = {name: conversion.plan.ids(name) for name in conversion.plan.splits}
    for block in blocks:
        yield block_task(conversion, block, order[block.split][block.start : block.stop], execution)


def block_task(conversion: Conversion, block: Block, ids: npt.NDArray[np.int32], execution: Execution) -> BlockTask:
    """Return what a worker needs for one block of the rows with these ids."""
    rows = conversion.index[block.split]
    return BlockTask(
        root=conversion.paths.root,
        plan=conversion.plan,
        source=conversion.source,
        block=block,
        ids=ids,
        names=[rows.names[i] for i in ids.tolist()],
        labels=rows.labels[ids],
        on_error=execution.on_error,
        device=execution.device,
    )

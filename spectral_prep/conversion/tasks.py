"""What a worker needs for one block of a conversion, wherever it runs.

Input: a conversion and the blocks that are pending. Output: what these have in common, and their `BlockTask`s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spectral_prep.choices import Device, OnError
from spectral_prep.conversion.agree import Conversion
from spectral_prep.conversion.execution import Execution
from spectral_prep.engines.interface import Late
from spectral_prep.places.url import Place
from spectral_prep.sources.interface import Images
from spectral_prep.sources.name_list import some
from spectral_prep.store.plan_record import Block, Plan

CONVERTING = "converting"
"""The step that the rows of every block count towards."""

RUN_BLOCK = Late("spectral_prep.conversion.block", "run_block")
"""What a worker does with an `AllBlocks` and a `BlockTask`; it needs torch, which who hands out the work does not."""


@dataclass(frozen=True)
class AllBlocks:
    """What all blocks of a conversion have in common: sent once to each worker, for a plan may have many classes."""

    root: Place
    plan: Plan
    on_error: OnError
    device: Device = "cpu"


@dataclass(frozen=True)
class BlockTask:
    """What a worker needs for one block of it; small, and picklable."""

    block: Block
    ids: npt.NDArray[np.int32]
    names: list[str]
    labels: npt.NDArray[np.int32]
    images: Images

    def __str__(self) -> str:
        return str(self.block)


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
        names=some(rows.names, ids),
        labels=rows.labels[ids],
        images=conversion.source.for_rows(block.split, ids),
    )

"""What a worker needs for the blocks of one group, wherever it runs.

Input: a conversion and the groups of blocks that are pending. Output: what these have in common, and a `BlockTask` of
each.
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
from spectral_prep.store.block_groups import BlockGroup
from spectral_prep.store.plan_record import Plan

CONVERTING = "converting"
"""The step that the rows of every block count towards."""

RUN_BLOCKS = Late("spectral_prep.conversion.block", "run_blocks")
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
    """What a worker needs for one group of them, small and picklable: its images, in the order of their places."""

    group: BlockGroup
    ids: npt.NDArray[np.int32]
    names: list[str]
    labels: npt.NDArray[np.int32]
    images: Images

    def __str__(self) -> str:
        return str(self.group)


def all_blocks(root: Place, plan: Plan, execution: Execution) -> AllBlocks:
    """Return what a worker needs once for all blocks; other machines' GPUs are used only if the user says so."""
    device = "cpu" if execution.engine.elsewhere and execution.device == "auto" else execution.device
    return AllBlocks(root, plan, execution.on_error, device)


def block_tasks(conversion: Conversion, groups: Iterable[BlockGroup]) -> Iterator[BlockTask]:
    """Yield what a worker needs for each group; only its own names and places are looked up."""
    order = {name: conversion.plan.ids(name) for name in conversion.plan.splits}
    for group in groups:
        yield block_task(conversion, group, order[group.split][group.places % group.images])


def block_task(conversion: Conversion, group: BlockGroup, ids: npt.NDArray[np.int32]) -> BlockTask:
    """Return what a worker needs for one group, whose images have these ids."""
    rows = conversion.index[group.split]
    return BlockTask(
        group=group,
        ids=ids,
        names=some(rows.names, ids),
        labels=rows.labels[ids],
        images=conversion.source.for_rows(group.split, ids),
    )

"""Which blocks are whose: one task of several on as many machines, and what a worker needs for one block.

Input: a plan and the blocks that are pending. Output: `BlockTask`s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spectral_prep.conversion.block import BlockTask, OnError
from spectral_prep.errors import InputError
from spectral_prep.kernel.stream import Device
from spectral_prep.sources.interface import RowIndex, Source
from spectral_prep.store.plan_record import Block, Plan


@dataclass(frozen=True)
class Task:
    """Task `number` of `count`, counted from 0: it converts every block whose number leaves `number` over `count`.

    Raises
    ------
    InputError
        If there is no such task.

    >>> Task.parse("1/3").has(Block(4, "train", 0, 1))
    True
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.count:
            raise InputError("no such task", expected="I/N with 0 ≤ I < N, such as 0/16", got=f"--task {self}")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Task:
        """Return the task that the user names, such as "0/16"."""
        number, slash, count = text.partition("/")
        if not (slash and number.isdecimal() and count.isdecimal()):
            raise InputError("no such task", expected="I/N with 0 ≤ I < N, such as 0/16", got=f"--task {text}")
        return cls(int(number), int(count))

    def has(self, block: Block) -> bool:
        """Whether this task converts a block."""
        return block.number % self.count == self.number


ALONE = Task(0, 1)


def block_tasks(
    root: Path,
    plan: Plan,
    source: Source,
    index: Mapping[str, RowIndex],
    blocks: Iterable[Block],
    on_error: OnError,
    device: Device,
) -> Iterator[BlockTask]:
    """Yield what a worker needs for each block; only its own names are looked up."""
    order = {name: plan.ids(name) for name in plan.splits}
    for block in blocks:
        ids = order[block.split][block.start : block.stop]
        yield replace(block_task(root, plan, source, index, block, ids, on_error), device=device)


def block_task(
    root: Path,
    plan: Plan,
    source: Source,
    index: Mapping[str, RowIndex],
    block: Block,
    ids: npt.NDArray[np.int32],
    on_error: OnError,
) -> BlockTask:
    """Return what a worker needs for one block of the rows with these ids."""
    names = [index[block.split].names[i] for i in ids.tolist()]
    return BlockTask(root, plan, source, block, ids, names, index[block.split].labels[ids], on_error)

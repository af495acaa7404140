"""Which blocks are converted together: those that hold views of the same images, so that an image is decoded once.

Input: a plan. Output: its groups of blocks, the units of work.

Row r of a split of N images is view r // N of the image at place r mod N. Where N is no multiple of a block's rows, B,
blocks of two views do not hold the same images, and some hold the last images of one view and the first of the next. By
the place of a block's first image all this is one circle: group k has the blocks that begin at a place from kB to
(k+1)B, one of each view or so, whose images are at most 2B neighbours on the circle. Without views each block is a
group.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from spectral_prep.store.plan_record import Block, Plan

MOST_OPEN_FILES = 512
"""Part files that a worker writes at once: systems often allow a process 1024 files."""
MOST_CHUNK_BYTES = 256 << 20
"""Of the chunks that a worker fills at once, one a block."""


@dataclass(frozen=True)
class BlockGroup:
    """One unit of work: blocks of a split of so many images, in the order of the places where they begin.

    >>> group = BlockGroup(0, "train", 10, (Block(0, "train", 0, 4), Block(3, "train", 12, 16)))
    >>> group.places.tolist(), group.spans
    ([0, 1, 2, 3, 4, 5], (range(0, 4), range(2, 6)))
    """

    number: int
    split: str
    images: int
    blocks: tuple[Block, ...]

    def __str__(self) -> str:
        if len(self.blocks) == 1:
            return str(self.blocks[0])
        numbers = ", ".join(str(block.number) for block in self.blocks)
        return f"blocks {numbers} ({self.split}, views of the same images)"

    @property
    def rows(self) -> int:
        """Rows of all blocks."""
        return sum(block.stop - block.start for block in self.blocks)

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """Where the images are in stored order, (n,), each once: ascending, and modulo `images` beyond the last one.

        Only where a block has more rows than there are images an image comes again, each time around the circle.
        """
        return self._places_and_rows[0]

    @property
    def rows_of_places(self) -> npt.NDArray[np.intp]:
        """For each of `places` the first row that has its image, counted through all blocks, (n,)."""
        return self._places_and_rows[1]

    @property
    def spans(self) -> tuple[range, ...]:
        """Which of `places` the rows of each block are."""
        begins = [block.start % self.images for block in self.blocks]
        firsts = np.searchsorted(self.places, begins).tolist()
        return tuple(
            range(first, first + block.stop - block.start) for first, block in zip(firsts, self.blocks, strict=True)
        )

    @property
    def _places_and_rows(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.intp]]:
        places, rows = np.unique(np.concatenate(self._places), return_index=True)
        return places, rows

    @property
    def _places(self) -> list[npt.NDArray[np.int64]]:
        """The places of each block's rows."""
        return [block.start % self.images + np.arange(block.stop - block.start) for block in self.blocks]

    def without(self, numbers: Container[int]) -> BlockGroup | None:
        """Return what is left of it without the blocks of these numbers, None where nothing is."""
        left = tuple(block for block in self.blocks if block.number not in numbers)
        return replace(self, blocks=left) if left else None


def block_groups(plan: Plan) -> tuple[BlockGroup, ...]:
    """Return all blocks of a plan as groups, numbered through all splits."""
    return tuple(
        BlockGroup(number, split, plan.splits[split].images, blocks)
        for number, (split, blocks) in enumerate(_in_groups(plan))
    )


def _in_groups(plan: Plan) -> Iterator[tuple[str, tuple[Block, ...]]]:
    near: dict[tuple[str, int], list[tuple[int, Block]]] = {}
    for block in plan.blocks:
        part = plan.splits[block.split]
        place = block.start % part.images
        near.setdefault((block.split, place // part.block_rows), []).append((place, block))
    for (split, _), placed in near.items():  # view 0 comes first, and has a block in each
        blocks = [block for _, block in sorted(placed, key=lambda each: each[0])]
        most = _most_at_once(plan, split)
        for start in range(0, len(blocks), most):
            yield split, tuple(blocks[start : start + most])


def _most_at_once(plan: Plan, split: str) -> int:
    """Return how many blocks a worker writes at once: a limit for many views of many spectrals."""
    return max(1, min(MOST_OPEN_FILES // plan.spec.q, MOST_CHUNK_BYTES // chunk_bytes(plan, split)))


def chunk_bytes(plan: Plan, split: str) -> int:
    """Return the bytes of a chunk over all spectrals, before compression: what a writer of a block holds."""
    return plan.splits[split].chunk_rows * plan.geometry.values * plan.encoding.itemsize

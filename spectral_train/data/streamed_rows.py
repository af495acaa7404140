"""Rows that do not fit into memory: groups of whole chunks in a seeded order, read one ahead.

1. Pieces (whole chunks, about a MiB) come in a seeded order and fill groups (`order.group_plans`).
2. While one group is used, a thread reads the next into a second buffer. The two take 60 % of the memory budget.
   From a bucket it has several pieces read at once, and from a disk as many as half of the CPUs, within another 10 %.
3. Rows that are asked for without a seed, in order, are kept from the first time on if they fit into the rest:
   held-out rows are few, and lie scattered over all chunks.

No process is started or forked. The files are proved by their sha256 before (`placement.check_shard`), and every chunk
by its crc32c whenever it is read.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from spectral_prep.errors import InputError
from spectral_prep.places.url import Url
from spectral_prep.system.resources import usable_cpus
from spectral_train.data.order import GroupPlan, Piece, Positions, group_plans
from spectral_train.data.pieces import PieceReader
from spectral_train.data.rows import Examples, Group
from spectral_train.data.shard import Shard
from spectral_train.data.standardise import Standardisation

BUFFERS = 2
BUFFER_SHARE = 0.3
PIECES_SHARE = 0.1
"""What pieces that are read at once may take of what is kept, if they are more than one."""

PIECES_AT_ONCE = 8
KEPT_SHARE = 1 - BUFFERS * BUFFER_SHARE


class StreamedRows:
    """The rows of one split of a shard, read from its folders epoch after epoch; a `RowSource`.

    Parameters
    ----------
    shard, split
        From `open_shard`; "train" or "test".
    y
        (N,) labels of the split.
    memory
        Bytes that the rows may take.

    Raises
    ------
    InputError
        If not even two pieces fit.
    """

    def __init__(self, shard: Shard, split: str, y: Tensor, memory: int) -> None:
        self.y = y
        self._reader = PieceReader(shard, split)
        self._pieces = self._reader.pieces
        self._row_bytes = math.prod(shard.input_shape) * shard.encoding.torch_dtype.itemsize
        self._kept: tuple[Positions, Examples] | None = None
        self.group_rows = int(memory * BUFFER_SHARE) // self._row_bytes
        self._largest = largest = self._reader.largest
        room = int(memory * PIECES_SHARE) // max(1, largest * self._row_bytes)
        in_bucket = any(isinstance(folder.paths.root, Url) for folder in shard.folders)
        useful = PIECES_AT_ONCE if in_bucket else min(PIECES_AT_ONCE, usable_cpus() // 2)
        self._at_once = max(1, min(useful, room))
        self._most_kept = memory * (KEPT_SHARE - (PIECES_SHARE if self._at_once > 1 else 0))
        if self.group_rows < largest:
            least = math.ceil(largest * self._row_bytes / BUFFER_SHARE)
            raise InputError(
                "too little memory to stream this shard",
                expected=f"at least {least} bytes: two pieces of {largest} rows and the held-out rows",
                got=memory,
                run=f"the same command with --memory {math.ceil(least / 2**20)}M",
            )

    @property
    def standardise(self) -> Standardisation:
        """That of the shard."""
        return self._reader.shard.standardise

    @property
    def identity(self) -> str:
        """Shard, split and the size of the groups, on which the order depends."""
        return f"{self._reader.shard.identity}/{self._reader.split}/{self.group_rows}"

    def groups(self, positions: Positions, seed: int | None = None, skip: int = 0) -> Iterator[Group]:
        """Yield group after group, reading one ahead; in order, the groups are as they are stored.

        Raises
        ------
        CorruptFileError
            Naming the part that cannot be read.
        """
        if seed is None and len(positions) * self._row_bytes <= self._most_kept:
            yield from self._keep(positions).groups(np.arange(len(positions), dtype=np.int32), skip=skip)
            return
        plans = group_plans(positions, self._pieces, self.group_rows, seed, skip)
        rows = min(self.group_rows, len(positions))
        buffers = itertools.cycle(self._reader.buffer(rows) for _ in range(BUFFERS))
        with ThreadPoolExecutor(1, "read ahead") as thread:
            ahead = [thread.submit(self._read, plan, next(buffers)) for plan in itertools.islice(plans, 1)]
            while ahead:
                group = ahead.pop().result()
                ahead = [thread.submit(self._read, plan, next(buffers)) for plan in itertools.islice(plans, 1)]
                yield group

    def _keep(self, positions: Positions) -> Examples:
        if self._kept is None or not np.array_equal(self._kept[0], positions):
            self._kept = None
            plan = GroupPlan(
                tuple(piece for plan in group_plans(positions, self._pieces, 1, seed=None) for piece in plan.pieces),
                np.arange(len(positions)),
            )
            group = self._read(plan, self._reader.buffer(len(positions)))
            self._kept = positions, Examples(group.x, group.y, self.standardise)
        return self._kept[1]

    def _read(self, plan: GroupPlan, buffer: Tensor) -> Group:
        done = 0
        for piece, values in self._values(plan.pieces):
            wanted = torch.from_numpy(piece.wanted - piece.start)
            torch.index_select(values, 0, wanted, out=buffer[done : done + len(wanted)])
            done += len(wanted)
        return Group(buffer[:done], self.y[torch.from_numpy(plan.positions)], torch.from_numpy(plan.index))

    def _values(self, pieces: Sequence[Piece]) -> Iterator[tuple[Piece, Tensor]]:
        """Yield pieces with their values, several read at once: each is decompressed beside the others and the loop.

        Values stand in a buffer of their own until the next piece is asked for.
        """
        if self._at_once == 1:
            buffer = self._reader.buffer(self._largest)
            yield from ((piece, self._reader.read(slice(piece.start, piece.stop), buffer)) for piece in pieces)
            return
        waiting = iter(pieces)
        with ThreadPoolExecutor(self._at_once, "pieces") as threads:

            def submitted(piece: Piece, buffer: Tensor) -> tuple[Piece, Tensor, Future[Tensor]]:
                future = threads.submit(self._reader.read, slice(piece.start, piece.stop), buffer)
                return piece, buffer, future

            reading = deque(
                submitted(piece, self._reader.buffer(self._largest))
                for piece in itertools.islice(waiting, self._at_once)
            )
            while reading:
                piece, buffer, values = reading.popleft()
                yield piece, values.result()
                reading.extend(submitted(following, buffer) for following in itertools.islice(waiting, 1))

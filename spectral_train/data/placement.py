"""Where the rows of a shard are while it trains: on the GPU, in memory, or read from the disk epoch after epoch.

Input: a shard and what memory there is. Output: a `RowSource`, and a line that says which was chosen and why.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from spectral_prep.system.resources import memory_limit, resident_memory
from spectral_train.data.pieces import read_values
from spectral_train.data.rows import Examples, RowSource
from spectral_train.data.shard import NO_ROWS, Shard, check_files
from spectral_train.data.streamed_rows import StreamedRows

UNKNOWN = 2**32  # where /proc is not there


@dataclass(frozen=True)
class Placement:
    """Where rows of `size` bytes go, and how many bytes of RAM they may take there."""

    where: Literal["device", "memory", "disk"]
    size: int
    budget: int

    @property
    def text(self) -> str:
        """What happens to the rows, in a few words.

        >>> Placement("disk", 8 * 2**30, 2 * 2**30).text
        '8192.0 MiB of rows, streamed within 2048.0 MiB of memory'
        """
        place = {
            "device": "resident on the GPU",
            "memory": "resident in memory",
            "disk": f"streamed within {self.budget / 2**20:.1f} MiB of memory",
        }
        return f"{self.size / 2**20:.1f} MiB of rows, {place[self.where]}"


def place(size: int, memory: int | None, available: int, free_on_device: int = 0) -> Placement:
    """Decide where rows go: on the GPU if they take less than half of what is free there, else in RAM if they fit.

    Parameters
    ----------
    size
        Bytes of the rows as stored.
    memory
        Bytes of RAM that they may take; half of what is available unless said.
    available, free_on_device
        Bytes; 0 on the device where there is no GPU.

    >>> place(10, None, available=30).where, place(10, None, available=15).where, place(10, 9, available=30).where
    ('memory', 'disk', 'disk')
    >>> place(10, None, available=15, free_on_device=30).where
    'device'
    """
    budget = available // 2 if memory is None else memory
    if 0 < size < free_on_device / 2:
        return Placement("device", size, budget)
    return Placement("memory" if size <= budget else "disk", size, budget)


def placement(shard: Shard, split: str, memory: int | None = None, device: torch.device | str = "cpu") -> Placement:
    """Decide where the rows of a split go on this machine as it is now."""
    kind = torch.device(device)
    free = torch.cuda.mem_get_info(kind)[0] if kind.type == "cuda" else 0
    return place(split_bytes(shard, split), memory, available_memory(), free)


def check_shard(shard: Shard, chosen: Placement) -> None:
    """Prove the files of a shard whole before the first step.

    Training rows that are read as a whole are proved by the crc32c of every chunk; where they are streamed, by their
    sha256, which costs one reading of the files; in a bucket, where that is an epoch, by the crc32c again.

    Raises
    ------
    CorruptFileError
        Naming the file that is missing or damaged.
    """
    for folder in shard.folders:
        check_files(folder, thorough=chosen.where == "disk" and isinstance(folder.paths.root, Path))


def open_rows(shard: Shard, split: str, y: Tensor, chosen: Placement, device: torch.device | str = "cpu") -> RowSource:
    """Return the rows of a split where they were placed; call `check_shard` before.

    Raises
    ------
    CorruptFileError
        Naming the part that cannot be read.
    InputError
        If the memory does not hold even two pieces of a streamed split.
    """
    if chosen.where == "disk":
        return StreamedRows(shard, split, y, chosen.budget)
    home = torch.device(device if chosen.where == "device" else "cpu")
    return Examples(read_values(shard, split, home), y.to(home), shard.standardise, f"{shard.identity}/{split}")


def memory_each(memory: int | None, networks: int) -> int:
    """Return the bytes of RAM that the rows of each of so many networks may take; None is half of what is available."""
    return (available_memory() // 2 if memory is None else memory) // networks


def split_bytes(shard: Shard, split: str) -> int:
    """Return the bytes of the rows of a split as stored, uncompressed."""
    rows = shard.first.splits.get(split, NO_ROWS).rows
    return rows * math.prod(shard.input_shape) * shard.encoding.torch_dtype.itemsize


def available_memory(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Return the bytes that this process can still get: from the machine without swapping, and from its container."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", meminfo.read_text(), re.MULTILINE) if meminfo.is_file() else None
    machine = 1024 * int(found[1]) if found else UNKNOWN
    limit = memory_limit()
    return machine if limit is None else max(0, min(machine, limit - resident_memory()))

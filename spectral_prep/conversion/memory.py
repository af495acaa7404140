"""How much memory a conversion takes at most, before it starts: the bound that `convert` prints and a test holds.

Input: a plan and, from the system, what this process holds already. Output: a `Memory`, from which the peak of any
number of workers follows, and how many workers a limit allows. Memory is counted as proportional set size (PSS): what
processes share counts once.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from spectral_prep.choices import Device
from spectral_prep.engines.interface import Needs
from spectral_prep.images.load import Geometry
from spectral_prep.places.interface import IN_MEMORY_BYTES
from spectral_prep.places.url import Place
from spectral_prep.store.block_groups import block_groups, chunk_bytes
from spectral_prep.store.plan_record import Plan
from spectral_prep.system.resources import resident_memory

MIB = 1 << 20
SERVER_BYTES = 320 * MIB
"""What all workers share: Python, torch and zarr, imported once."""
TORCH_BYTES = 512 * MIB
"""What a process takes that imports torch."""
WORKER_BYTES = 96 * MIB
"""What each has of its own apart from rows: what it wrote in shared pages, a decoded photo, the allocator's reserve."""
LOOKED_BYTES = 32
"""What looking at an image takes a value: its pixels, and its spectrum as float32 with what is between."""
ROW_BYTES = 64
"""What completing a data set takes a row: labels, ids and their compressed copies."""
FILE_BYTES = 2 << 10
"""What completing takes a part file: its entry in three records, as objects and as JSON."""
GPU_BATCHES = 4
"""How many times as many images a GPU is given at once as a CPU: copying few takes longer than their bytes do."""


@dataclass(frozen=True)
class Memory:
    """Bytes at most: of the process that starts workers, of what workers share, and of a worker's own; `torch` is what
    the parent takes besides if it converts itself.
    """

    parent: int
    server: int
    worker: int
    torch: int = 0

    def peak(self, workers: int) -> int:
        """Return the peak of all processes together; one worker is the parent itself."""
        return self.parent + (self.torch + self.worker if workers == 1 else self.server + workers * self.worker)

    def workers(self, limit: int) -> int:
        """Return the largest number of workers whose peak is within a limit; 0 if not even one fits."""
        several = (limit - self.parent - self.server) // self.worker
        return max(several, 0) if several > 1 else int(self.peak(1) <= limit)


def memory_of(plan: Plan, root: Place, *, elsewhere: bool = False) -> Memory:
    """Return the memory of a conversion; the source's index, which this process already holds, is counted as it is.

    Workers `elsewhere`, be it only in Ray's processes here, share nothing.
    """
    completing = plan.rows * ROW_BYTES + len(plan.blocks) * plan.spec.q * FILE_BYTES
    parent = resident_memory() + completing + 32 * MIB
    worker = WORKER_BYTES + _buffers(plan, in_bucket=not isinstance(root, Path))
    if elsewhere:
        return Memory(parent, 0, SERVER_BYTES + worker)
    return Memory(parent, SERVER_BYTES, worker, _torch_bytes())


def memory_before_plan(geometry: Geometry) -> Memory:
    """Return the memory of a calibration: a worker looks at one image after the other."""
    worker = WORKER_BYTES + geometry.values * LOOKED_BYTES
    return Memory(resident_memory() + 32 * MIB, SERVER_BYTES, worker, _torch_bytes())


def needs_of(memory: Memory, device: Device) -> Needs:
    """Return what one group of blocks takes of an engine, whose workers compute on this device."""
    return Needs(cpus=1, memory=memory.worker, gpus=int(device == "cuda"))


def _torch_bytes() -> int:
    """Return what this process takes yet if it imports torch."""
    return 0 if "torch" in sys.modules else TORCH_BYTES


def _buffers(plan: Plan, *, in_bucket: bool) -> int:
    """Return what a worker holds of rows: of each block that it writes at once a batch of a GPU's size as pixels, a
    chunk, and for a bucket the beginnings of its parts; of one block a batch as stored and as float64 for its sums, and
    a chunk's copy.
    """
    blocks = max(len(group.blocks) for group in block_groups(plan))
    batch = GPU_BATCHES * plan.batch_rows * plan.geometry.values
    chunk = max(chunk_bytes(plan, split) for split in plan.splits)
    parts = plan.spec.q * IN_MEMORY_BYTES if in_bucket else 0
    return blocks * (batch + chunk + parts) + batch * (plan.encoding.itemsize + 8 + 8) + 3 * chunk // plan.spec.q

"""How many processes work: on a sample before a conversion, and on its blocks; how many threads look for duplicates.

Input: what there is to do, what memory it takes, and what the user allows. Output: a number; 1 is this process itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from spectral_prep.conversion.execution import Execution
from spectral_prep.conversion.memory import Memory, needs_of
from spectral_prep.errors import InputError
from spectral_prep.images.load import Geometry
from spectral_prep.store.block_groups import BlockGroup
from spectral_prep.store.plan_record import Plan
from spectral_prep.system.resources import memory_limit, resident_memory, usable_cpus

PIXELS_A_WORKER = 64 << 20
SAMPLED_PIXELS_A_WORKER = 4 << 20
THREAD_BYTES = 32 << 20
"""What a thread that reads images takes: of a bucket's, the 64 of a request, up to half a MB each.

Measured 6 to 9 MiB with ImageNet's 0.11 MB each, and from a disk 0.6: `python benchmarks/memory.py threads --source …`.
"""


def choose_workers(plan: Plan, pending: Sequence[BlockGroup], memory: Memory, execution: Execution) -> int:
    """Return how many processes convert: as wanted or as many as are worth starting, within the memory.

    A process costs as much as converting some 64 MiB of pixels. Without `max_memory` the control group's limit holds,
    or what memory the engine's machines have; where not even one worker fits into the group's, one is tried.

    Raises
    ------
    InputError
        If `execution.max_memory` or the engine does not allow a single worker.
    """
    pixels = sum(group.rows for group in pending) * plan.geometry.values
    most = execution.engine.at_once(needs_of(memory, execution.device))
    workers = execution.workers or max(1, min(most, len(pending), pixels // PIXELS_A_WORKER))
    limit = execution.max_memory or (None if execution.engine.elsewhere else memory_limit())
    if limit is None:
        return workers
    fitting = memory.workers(limit)
    if not fitting and execution.max_memory is not None:
        raise InputError(
            "one worker does not fit into --max-memory",
            expected=f"at least {math.ceil(memory.peak(1) / (1 << 20))}M",
            got=f"{execution.max_memory >> 20}M",
            run=f"the same command with --max-memory {math.ceil(memory.peak(1) / (1 << 20))}M",
        )
    return max(1, min(workers, fitting))


def sampling_workers(sampled: int, rows: int, geometry: Geometry, memory: Memory, execution: Execution) -> int:
    """Return how many processes of this machine look at a sample of the rows that are converted afterwards.

    Several where several convert, however small the sample is: what all workers share, torch above all, is then there
    for the conversion, and this process needs none of it.
    """
    wanted = execution.workers or rows * geometry.values // PIXELS_A_WORKER
    limit = execution.max_memory or memory_limit()
    most = min(wanted, wanted if limit is None else memory.workers(limit), usable_cpus())
    return 1 if most < 2 else max(2, min(most, sampled * geometry.values // SAMPLED_PIXELS_A_WORKER))


def reading_threads(execution: Execution) -> int:
    """Return how many threads of this process read whole images before anything is planned: one, if no more fit."""
    limit = execution.max_memory or memory_limit()
    wanted = min(execution.workers or usable_cpus(), usable_cpus())
    fitting = wanted if limit is None else (limit - resident_memory()) // THREAD_BYTES
    return max(1, min(wanted, fitting))

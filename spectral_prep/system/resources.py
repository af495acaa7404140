"""What this process may use of the machine: CPUs and memory, as the system, a container or a job scheduler grants them.

Input: /proc, /sys and the environment. Output: numbers. A limit that cannot be read is no limit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

UNLIMITED = 1 << 60
"""Cgroup v1 writes the absence of a memory limit as a number near 2**63."""
GRANTED_CPUS = "SPECTRAL_GRANTED_CPUS"
"""The variable in which an engine tells a task's process how many CPUs the task was given."""

SLEEPING_THREADS = ("OMP_WAIT_POLICY", "PASSIVE")
"""What a process sets, unless the user has, before it imports torch: its threads sleep while they wait.

Threads that spin make training and fusing many times slower beside another busy process.
"""


def usable_cpus(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> int:
    """Return how many CPUs this process may use, at least 1.

    The least of its affinity, the CPU quota of its control group and of every group above it (v2 and v1), what an
    engine gave the task, and what Slurm gave it (SLURM_CPUS_PER_TASK) or else the job on this node
    (SLURM_CPUS_ON_NODE).
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([affinity, *_quotas(root), *_granted_cpus(environment)]))


def memory_limit(root: Path = Path("/")) -> int | None:
    """Return the bytes that the control group of this process, or one above it, may hold; None without a limit."""
    limits = [
        *(_number(group / "memory.max") for group in _groups(root, "")),
        *(_number(group / "memory.limit_in_bytes") for group in _groups(root, "memory")),
    ]
    return min((limit for limit in limits if limit is not None and limit < UNLIMITED), default=None)


def resident_memory() -> int:
    """Return the bytes of memory that this process holds now, shared pages included; 0 where /proc is not there."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)


def _quotas(root: Path) -> Iterator[int]:
    for group in _groups(root, ""):
        quota, _, period = _content(group / "cpu.max").partition(" ")
        if quota.isdecimal() and period.isdecimal():
            yield math.ceil(int(quota) / int(period))
    for group in _groups(root, "cpu"):
        limit, every = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
        if limit is not None and every:  # no quota is written as -1
            yield math.ceil(limit / every)


def _granted_cpus(environment: Mapping[str, str]) -> Iterator[int]:
    by_slurm = environment.get("SLURM_CPUS_PER_TASK") or environment.get("SLURM_CPUS_ON_NODE", "")
    yield from (int(granted) for granted in (environment.get(GRANTED_CPUS, ""), by_slurm) if granted.isdecimal())


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folder of this process's control group and of all above it; `controller` is empty for version 2.

    A container often sees its own group as the root, or the path of the host with nothing there: both are walked up.
    """
    for line in _content(root / "proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            mounts = [f"sys/fs/cgroup/{names}", f"sys/fs/cgroup/{controller}"] if controller else ["sys/fs/cgroup"]
            own = Path(path.strip("/"))
            for mount in dict.fromkeys(mounts):
                yield from (root / mount / group for group in (own, *own.parents))


def _content(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _content(path)
    return int(text) if text.isdecimal() else None

"""A process counts the CPUs and the memory that it may use, not those that the machine has."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from spectral_prep.system.resources import memory_limit, usable_cpus


def machine(root: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content + "\n")
    return root


@pytest.fixture(autouse=True)
def _many_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 64),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}, 64),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "150000 100000"}, 2),
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/cpu.max": "300000 100000"}, 3),
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/cpu.max": "500000 100000"}, 5),
        ({"proc/self/cgroup": "0::/a", "sys/fs/cgroup/other/cpu.max": "500000 100000"}, 64),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/a\n0::/",
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "400000",
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000",
            },
            4,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            64,
        ),
    ],
)
def test_cpus_are_cut_by_the_quota_of_every_control_group_above(
    tmp_path: Path, files: Mapping[str, str], cpus: int
) -> None:
    assert usable_cpus(machine(tmp_path, files), {}) == cpus


def test_cpus_are_those_that_slurm_gave(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path, {"SLURM_CPUS_ON_NODE": "8"}) == 8
    assert usable_cpus(tmp_path, {"SLURM_CPUS_ON_NODE": "8", "SLURM_CPUS_PER_TASK": "2"}) == 2
    assert usable_cpus(tmp_path, {"SLURM_CPUS_ON_NODE": "many"}) == 64


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/a", "sys/fs/cgroup/a/memory.max": "max"}, None),
        (
            {
                "proc/self/cgroup": "0::/a",
                "sys/fs/cgroup/a/memory.max": "9000",
                "sys/fs/cgroup/memory.max": "8000",
            },
            8000,
        ),
        ({"proc/self/cgroup": "4:memory:/a", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "7000"}, 7000),
        ({"proc/self/cgroup": "4:memory:/", "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2**63 - 4096)}, None),
    ],
)
def test_memory_is_the_least_of_the_control_groups_limits(
    tmp_path: Path, files: Mapping[str, str], limit: int | None
) -> None:
    assert memory_limit(machine(tmp_path, files)) == limit

"""A real Ray cluster of two nodes on the loopback, and its processes."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil

ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # by which Ray takes 127.0.0.1 on Linux, too
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_worker_niceness": "0",  # of 15 they wait for every other test
}

NODE = {"num_cpus": 1, "object_store_memory": 100 << 20}


@contextmanager
def two_nodes() -> Iterator[Any]:
    """Start two nodes with a CPU each and connect this process to them, as a program does that uses Ray itself.

    The environment is to be `ENVIRONMENT`.
    """
    import ray
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    try:
        cluster.add_node(**NODE)
        with ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR):
            yield cluster
    finally:
        cluster.shutdown()


def busy(name: str) -> list[psutil.Process]:
    """Return the processes, of nodes that this one started, which do a task whose name begins so."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if " ".join(process.cmdline()).startswith(f"ray::{name}"):
                found.append(process)
        except psutil.Error:  # it has ended meanwhile
            continue
    return found


def kill_one(name: str, seconds: float = 0) -> int:
    """Kill a process that does such a task, waiting for one so long; return how many were killed."""
    until = time.monotonic() + seconds
    while True:
        for process in busy(name)[:1]:
            os.kill(process.pid, signal.SIGKILL)
            return 1
        if time.monotonic() > until:
            return 0
        time.sleep(0.02)

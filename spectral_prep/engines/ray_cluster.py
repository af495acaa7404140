"""The engine for many machines: Ray's tasks, which Ray spreads, and does again where a worker or a node is lost.

1. `started` connects to the cluster that the user names (`--ray-address`, RAY_ADDRESS), or starts Ray on this machine.
2. `run` sends `work` once to each node (`ray.put`) and keeps a bounded window of tasks with Ray, the next when one is
   done. How tasks get to nodes, and are done again, is Ray's.
3. What the work raises comes home as a result and is raised here: Ray sees no failure, so nothing of ours is done
   again. What Ray itself reports becomes a paragraph.

ray is imported when it is used, since that takes seconds.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import socket
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from types import ModuleType
from typing import Any

from spectral_prep.engines.interface import Needs, Result, Task, attempt
from spectral_prep.errors import InputError, WorkerError
from spectral_prep.system.resources import GRANTED_CPUS, SLEEPING_THREADS, usable_cpus
from spectral_prep.system.units import size

RETRIES = 3
"""How often a task is done again whose worker or node was lost."""
MEMORY_RETRIES = 6
"""How often a task is done again that Ray ended for lack of memory, after 1, 2, 4 … s; Ray itself knows no limit."""
LOOK_SECONDS = 30
"""After so long without a result it is looked whether any node is left that can do the tasks."""
LOCAL = "local"
"""Ray's word for one that is started here."""
LOOPBACK_ONLY = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
"""Read when ray is imported: without it Ray listens to the network, and who reaches its ports runs code here."""
KNOCK_SECONDS = 10
"""Ray itself tries for two minutes, and then ends the process."""
OURS = "spectral-shards"
"""The namespace of a connection that was made here, and is closed here."""
LOCAL_STORE_BYTES = 256 << 20
"""Of shared memory, of a Ray that is started here: tasks are small."""
INTERRUPTED = 130
"""The exit code of a worker whose task was cancelled."""
LONGEST_REASON = 400
HOST_AND_PORT = re.compile(r"\[?(.+?)\]?:(\d+)")


@dataclass(frozen=True)
class Ray:
    """A Ray cluster: an `Engine`. `address` is HOST:PORT of its head node or "auto", for the one that runs here.

    Without an address RAY_ADDRESS counts; where that is not set, Ray is started on this machine and ended afterwards. A
    program that has called `ray.init` itself keeps its connection; one that has imported ray before has itself to
    say, by `LOOPBACK_ONLY`, that a Ray which is started here is not to listen to the network.
    """

    address: str | None = None

    @property
    def elsewhere(self) -> bool:
        """True."""
        return True

    @contextlib.contextmanager
    def started(self) -> Iterator[None]:
        """Be connected; raises `InputError` if ray is not installed or the cluster cannot be reached."""
        address = self.address or os.environ.get("RAY_ADDRESS") or LOCAL
        if address == LOCAL:
            os.environ.setdefault(*LOOPBACK_ONLY)
        ray = _ray()
        if ray.is_initialized():
            yield
            return
        _connect(ray, address)
        try:
            yield
        finally:
            ray.shutdown()

    def has_gpus(self) -> bool:
        """Whether any node has a GPU."""
        return any(node["Resources"].get("GPU") for node in self._nodes())

    def at_once(self, needs: Needs) -> int:
        """Return for how many such tasks the nodes have CPUs, memory and GPUs, whoever uses them now."""
        nodes = self._nodes()
        places = sum(_places(node["Resources"], needs) for node in nodes)
        if not places:
            raise InputError(
                "no node of the Ray cluster has what one task takes",
                expected=_resources({"CPU": needs.cpus, "memory": needs.memory, "GPU": needs.gpus}),
                got="; ".join(f"{node['NodeManagerAddress']}: {_resources(node['Resources'])}" for node in nodes),
                run="the same command when such a node has joined, or (training) with a smaller --memory",
            )
        return places

    def run(
        self, work: Callable[[Task], Result], tasks: Iterable[Task], workers: int, needs: Needs
    ) -> Generator[Result, None, None]:
        """Yield `work(task)` for every task, as `Engine.run` says; one whose worker is lost is done up to 4 times.

        What runs when a caller stops early ends when the connection is closed, or at once where that is not ours.
        """
        remaining = iter(tasks)
        with self.started():
            ray = _ray()
            once = ray.put(pickle.dumps(work))
            remote = ray.remote(
                num_cpus=needs.cpus,
                num_gpus=needs.gpus,
                memory=needs.memory or None,
                max_retries=RETRIES,
                scheduling_strategy="SPREAD",
            )(_attempt)
            running: dict[Any, Task] = {}
            ours = ray.get_runtime_context().namespace == OURS
            try:
                while True:
                    for task in islice(remaining, max(1, workers) - len(running)):
                        running[remote.options(name=str(task)).remote(once, pickle.dumps(task), needs.cpus)] = task
                    if not running:
                        return
                    done, _ = ray.wait(list(running), timeout=LOOK_SECONDS)
                    if not done:
                        self.at_once(needs)
                    for reference in done:
                        yield _result(ray, reference, running.pop(reference))
            finally:
                if not ours:
                    _cancel(ray, running)

    def _nodes(self) -> list[dict[str, Any]]:
        with self.started():
            return [node for node in _ray().nodes() if node["Alive"]]


def _cancel(ray: ModuleType, running: Iterable[Any]) -> None:
    """Cancel tasks, of a connection that outlives them.

    One of ours ends its tasks by being closed. That is safer: Ray itself may abort where a task is cancelled that is
    just done (ray-project/ray#54798), more often by force or with a node lost.
    """
    with contextlib.suppress(ray.exceptions.RayError):  # whatever ended this is what the user hears
        for reference in running:
            ray.cancel(reference)


def _attempt(work: bytes, task: bytes, cpus: int) -> tuple[bool, Any]:
    """Do one pickled task, in a process of Ray's, which may be on another machine.

    A task that is cancelled ends its process: Ray would give it other tasks, and what was interrupted in it, such as
    the import of torch, cannot be done again there.
    """
    os.environ[GRANTED_CPUS] = str(cpus)
    os.environ.setdefault(*SLEEPING_THREADS)
    try:
        return attempt(pickle.loads(work), pickle.loads(task))  # noqa: S301 of the process that asked for it
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)


def _result(ray: ModuleType, reference: Any, task: object) -> Any:
    try:
        failed, result = ray.get(reference)
    except ray.exceptions.RayError as error:
        raise _explained(ray.exceptions, error, task) from None
    if failed:
        raise result
    return result


def _explained(exceptions: ModuleType, error: Exception, task: object) -> WorkerError:
    """Return the paragraph for what Ray says of a task that it could not do."""
    if isinstance(error, exceptions.RayTaskError):
        return WorkerError(
            f"a Ray worker cannot begin {task}",
            expected="the same version of spectral-shards, and of what it needs, on every node",
            got=_reason(str(error).strip().splitlines()[-1]),
            run="pip install the same version on every node, then the same command",
        )
    if isinstance(error, exceptions.OutOfMemoryError):
        return WorkerError(
            f"Ray ended the worker at {task} {1 + MEMORY_RETRIES} times: its node had too little memory",
            expected="nodes whose memory nothing else takes",
            got=_reason(error),
            run="the same command with fewer --workers, when nothing else runs on these nodes",
        )
    return WorkerError(
        f"a Ray worker was lost at {task}, and so were those of {RETRIES} retries",
        expected="workers that live until their task is done",
        got=f"{type(error).__name__}: {_reason(error)}",
        run="the same command, which goes on; the logs of that node, in /tmp/ray/session_latest/logs, tell more",
    )


def _connect(ray: ModuleType, address: str) -> None:
    """Connect to a cluster, or start one on this machine's loopback for `LOCAL`."""
    options: dict[str, Any] = {}
    if address == LOCAL:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing here calls home
        options = {
            "num_cpus": usable_cpus(),
            "object_store_memory": LOCAL_STORE_BYTES,
            "include_dashboard": False,
            "_node_ip_address": "127.0.0.1",
            "_system_config": {"worker_niceness": 0},  # not Ray's 15: whatever else runs here would go before
        }
    try:
        if "://" in address:
            raise ValueError("an address of another kind: Ray's remote client has no retries")
        if found := HOST_AND_PORT.fullmatch(address):
            socket.create_connection((found[1], int(found[2])), KNOCK_SECONDS).close()
        ray.init(address=address, namespace=OURS, log_to_driver=False, logging_level="error", **options)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError, SystemExit) as error:
        if address == LOCAL:
            raise InputError(
                "cannot start Ray on this machine", got=_reason(error), run="the same command without --engine ray"
            ) from error
        raise InputError(
            "cannot connect to Ray",
            where=address,
            expected="HOST:PORT of the head node of a running cluster that has the same ray and Python",
            got="no answer in two minutes" if isinstance(error, SystemExit) else _reason(error),
            run=f"ray status --address {address}; when it runs, the same command on one of its nodes",
        ) from error


def _places(resources: dict[str, float], needs: Needs) -> int:
    """Return how many tasks with these needs a node can do at once."""
    wanted = (("CPU", needs.cpus), ("memory", needs.memory), ("GPU", needs.gpus))
    return min(int(resources.get(name, 0) / amount) for name, amount in wanted if amount)


def _resources(amounts: dict[str, Any]) -> str:
    cpus, gpus = amounts.get("CPU", 0), amounts.get("GPU", 0)
    return f"{cpus:g} CPUs, {size(amounts.get('memory', 0))} of memory, {gpus:g} GPUs"


def _reason(error: object) -> str:
    """Return what Ray says, which may be pages, in one line."""
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}…"


def _ray() -> ModuleType:
    os.environ.setdefault("RAY_task_oom_retries", str(MEMORY_RETRIES))  # read when ray is imported
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise InputError(
            "--engine ray needs a package that is not installed",
            got=error,
            run="pip install 'spectral-shards[ray]', then the same command",
        ) from error
    return ray

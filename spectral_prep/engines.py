"""Where blocks run: in this process or in several.

Goes in: a function and its tasks. Come out: its results, in the order in which they are done.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch

from spectral_prep.errors import WorkerError

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_all(work: Callable[[Task], Result], tasks: Iterable[Task], workers: int) -> Iterator[Result]:
    """Yield `work(task)` for every task: in this process for one worker, otherwise in that many processes.

    At most two tasks a worker are waiting at any time, so that memory does not grow with their number. When the caller
    stops early, or is interrupted, running processes are ended at once: all they write is atomic.

    Raises
    ------
    WorkerError
        If the system killed a worker; the text names the likely cause.
    """
    if workers <= 1:
        yield from map(work, tasks)
        return
    before = set(multiprocessing.active_children())
    with concurrent.futures.ProcessPoolExecutor(workers, _context(work.__module__), initializer=_start_worker) as pool:
        try:
            remaining = iter(tasks)
            with _interrupts_held():
                running = {pool.submit(work, task) for task in islice(remaining, 2 * workers)}
            while running:
                done, running = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
                with _interrupts_held():
                    running |= {pool.submit(work, task) for task in islice(remaining, len(done))}
                for future in done:
                    yield future.result()
        except BrokenProcessPool as error:
            raise WorkerError(
                "a worker process was killed",
                expected=f"memory for {workers} workers (and, in a script of your own, if __name__ == '__main__':)",
                got="most often the system's out-of-memory killer: its log (dmesg) tells",
                run=f"the same command with --workers {max(1, workers // 2)}",
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - before:
                process.kill()
            raise


def usable_cpus() -> int:
    """Return how many CPUs this process may use: its affinity, cut by a container's quota."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return cpus if quota == "max" else max(1, min(cpus, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup v2 here
        return cpus


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch compute on this many threads; the former number comes back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _context(preloaded: str) -> multiprocessing.context.BaseContext:
    """Return a way to start workers that is safe beside torch's threads; one import of torch serves them all."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preloaded])
    return context


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back while workers may be started: they inherit the mask and so leave Ctrl-C to the parent."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    """End with the parent however it ends: an orphan would wait for tasks for ever."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

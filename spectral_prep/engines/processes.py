"""The engine that needs nothing: many tasks in this process or in several of this machine.

Each worker process has a pipe of its own and one task at a time, so that it is known at any moment who does what: a
worker that dies closes its pipe, which is seen at once, whatever it was doing, and its task can be named.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from spectral_prep.engines.interface import Late, Needs, Result, Task, attempt
from spectral_prep.errors import WorkerError
from spectral_prep.system.resources import usable_cpus
from spectral_prep.system.watch import Step, seldom, tell, watched


@dataclass(frozen=True)
class Processes:
    """The processes of this machine: an `Engine` that does no task again, since a dead worker most often lacked memory.

    >>> sorted(Processes().run(abs, [-3, 2], workers=1, needs=Needs()))
    [2, 3]
    """

    @property
    def elsewhere(self) -> bool:
        """False."""
        return False

    def started(self) -> AbstractContextManager[None]:
        """Nothing: `run` starts its processes."""
        return contextlib.nullcontext()

    def has_gpus(self) -> bool:
        """False: a process takes the GPUs that it finds."""
        return False

    def at_once(self, needs: Needs) -> int:
        """Return for how many such tasks there are CPUs; memory is the caller's to divide."""
        return max(1, usable_cpus() // needs.cpus)

    def run(
        self, work: Callable[[Task], Result], tasks: Iterable[Task], workers: int, needs: Needs
    ) -> Generator[Result, None, None]:
        """Do as `run_all` does."""
        return run_all(work, tasks, workers)


def run_all(work: Callable[[Task], Result], tasks: Iterable[Task], workers: int) -> Generator[Result, None, None]:
    """Yield `work(task)` for every task: in this process for one worker, otherwise in that many processes.

    One task a worker is taken at any time, so that memory does not grow with their number. What a worker tells of its
    steps is told here, now and then (`system.watch`). When the caller stops early, or is interrupted, running processes
    are ended at once: all they write is atomic.

    Raises
    ------
    WorkerError
        If a worker was killed or ended itself; the text has the `str` of its task and the likely cause.
    """
    if workers <= 1:
        yield from map(work, tasks)
        return
    function = getattr(work, "func", work)  # `func` of a partial
    preloaded = function.module if isinstance(function, Late) else function.__module__
    context, remaining = _context(preloaded), iter(tasks)
    running: dict[Any, _Worker] = {}
    try:
        for task in islice(remaining, workers):
            worker = _started(context, work)
            running[worker.connection] = _given(worker, task)
        while running:
            for connection in wait(list(running)):
                told, result = _result(running[connection], workers)
                if told is not None:
                    tell(told)
                    continue
                following = list(islice(remaining, 1))
                if following:
                    running[connection] = _given(running[connection], following[0])
                else:
                    running.pop(connection).connection.close()
                yield result
    finally:
        for worker in running.values():
            worker.process.kill()


@dataclass(frozen=True)
class _Worker:
    process: BaseProcess
    connection: Connection
    task: object = None


def _started(context: multiprocessing.context.BaseContext, work: Callable[[Any], Any]) -> _Worker:
    ours, theirs = context.Pipe()
    given = (work, theirs, dict(os.environ))
    process = context.Process(target=_serve, args=given, daemon=True)  # type: ignore[attr-defined]
    resource_tracker.ensure_running()  # starting it lets Ctrl-C through again, even where it is held
    with _interrupts_held():
        process.start()
    theirs.close()  # so that the pipe ends with the worker
    return _Worker(process, ours)


def _given(worker: _Worker, task: object) -> _Worker:
    with contextlib.suppress(ConnectionError):  # dead already: `_result` says so
        worker.connection.send(task)
    return replace(worker, task=task)


def _result(worker: _Worker, workers: int) -> tuple[Step | None, Any]:
    """Return a step that the worker tells of, or its result."""
    try:
        told, (failed, result) = worker.connection.recv()
    except (EOFError, ConnectionError):
        raise _death(worker, workers) from None
    if failed:
        raise result
    return told, result


def _death(worker: _Worker, workers: int) -> WorkerError:
    worker.process.join()
    code = worker.process.exitcode or 0
    if code == -signal.SIGKILL:
        end, cause = "was killed", "signal 9: most often the system's out-of-memory killer; its log (dmesg) tells"
    elif code < 0:
        end, cause = "was killed", f"signal {-code} ({signal.strsignal(-code)})"
    else:
        end, cause = "ended itself", f"exit code {code}; what it printed above may tell why"
    return WorkerError(
        f"a worker process {end} at {worker.task}",
        expected=f"memory for {workers} workers (and, in a script of your own, if __name__ == '__main__':)",
        got=cause,
        run=f"the same command with --workers {max(1, workers // 2)}",
    )


def _serve(work: Callable[[Any], Any], connection: Connection, environment: dict[str, str]) -> None:
    """Do the tasks that come through a pipe until it is closed.

    A worker would find the environment of the moment when the first of all workers was started: it is given the
    parent's, since credentials may have been set since.
    """
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    telling = watched(seldom(lambda told: connection.send((told, (False, None)))))
    with contextlib.suppress(EOFError, ConnectionError), telling:  # nobody waits for more
        while True:
            task = connection.recv()
            connection.send((None, attempt(work, task)))


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


def _end_with_parent() -> None:
    """End with the parent however it ends: an orphan would finish its block for nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

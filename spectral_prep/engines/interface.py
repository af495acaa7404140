"""What an engine is: where tasks run.

Input: a function and its tasks. Output: its results, in the order in which they are done. A task holds all that any
process on any machine needs, and its result is a small record; everything else goes through the disk, whole or not at
all, so that a task may be done again, or twice. `spectral_prep.engines` chooses by name.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Needs:
    """What one task takes at most, of the machine that it runs on: CPUs, bytes of memory, GPUs or a share of one."""

    cpus: int = 1
    memory: int = 0
    gpus: float = 0


@dataclass(frozen=True)
class Late:
    """A function by its name: its module is imported by who calls it, and before that by an engine for its workers.

    >>> Late("math", "hypot")(3, 4)
    5.0
    """

    module: str
    name: str

    def __call__(self, *arguments: Any) -> Any:
        """Import the module and call the function."""
        return getattr(importlib.import_module(self.module), self.name)(*arguments)


class Engine(Protocol):
    """A place where tasks run; a value, such as `Ray("head:6379")`, that holds nothing open."""

    @property
    def elsewhere(self) -> bool:
        """Whether tasks may run on other machines: they see shared file systems, and share no memory."""
        ...

    def started(self) -> AbstractContextManager[None]:
        """Have the engine ready for as long as this lasts; `run` and `at_once` inside need not start it again."""
        ...

    def has_gpus(self) -> bool:
        """Whether tasks can ask for GPUs; raises `InputError` if the engine cannot be reached."""
        ...

    def at_once(self, needs: Needs) -> int:
        """Return how many tasks with these needs run side by side, at least 1.

        Raises
        ------
        InputError
            If not even one can run, or the engine cannot be reached.
        """
        ...

    def run(
        self, work: Callable[[Task], Result], tasks: Iterable[Task], workers: int, needs: Needs
    ) -> Generator[Result, None, None]:
        """Yield `work(task)` for every task, once.

        At most `workers` tasks are taken at any time, so that memory does not grow with their number. `work` is sent
        once to each process or machine: what all tasks have in common belongs into it (`functools.partial`). When the
        caller stops early, or is interrupted, running tasks are ended at once.

        Raises
        ------
        WorkerError
            If a task's process was killed or ended itself, and the engine does not do it again; the text has the `str`
            of the task and the likely cause.
        Exception
            What `work` raises, as it is, with a note of where; such a task is not done again.
        """
        ...


def attempt(work: Callable[[Any], Any], task: object) -> tuple[bool, Any]:
    """Return (False, result) or, if the work raises, (True, error): how any engine sends either home."""
    try:
        return False, work(task)
    except Exception as error:  # noqa: BLE001 it is raised again where the results are taken
        error.add_note(f"In a worker process:\n{traceback.format_exc()}")
        return True, error

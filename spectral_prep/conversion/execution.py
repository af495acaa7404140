"""How a conversion is done, as far as no byte depends on it: by which processes, in how much memory, on what device.

Input: the words of a command. Output: an `Execution`; what is made, a `Request` says.
"""

from __future__ import annotations

from dataclasses import dataclass

from spectral_prep.choices import Device, OnError
from spectral_prep.engines.interface import Engine
from spectral_prep.engines.processes import Processes
from spectral_prep.errors import InputError


@dataclass(frozen=True)
class Task:
    """Task `number` of `count`, counted from 0: it converts every group of blocks whose number leaves `number` over
    `count`.

    Raises
    ------
    InputError
        If there is no such task.

    >>> Task.parse("1/3").has(4)
    True
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.count:
            raise InputError("no such task", expected="I/N with 0 ≤ I < N, such as 0/16", got=f"--task {self}")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Task:
        """Return the task that the user names, such as "0/16"."""
        number, slash, count = text.partition("/")
        if not (slash and number.isdecimal() and count.isdecimal()):
            raise InputError("no such task", expected="I/N with 0 ≤ I < N, such as 0/16", got=f"--task {text}")
        return cls(int(number), int(count))

    def has(self, number: int) -> bool:
        """Whether this task converts the group of this number."""
        return number % self.count == self.number


ALONE = Task(0, 1)


@dataclass(frozen=True)
class Execution:
    """How the work is done: no byte of a completed data set depends on it, but for what becomes of bad images.

    >>> Execution(Task(0, 16), workers=4).task.count
    16

    Parameters
    ----------
    task
        One of several that share the blocks and the folder; the data set is then completed by `finalize`.
    workers
        Processes, of all machines; default: the CPUs that the engine has, fewer for small sets.
    max_memory
        Bytes that all processes together may take: it limits the workers. Default: the control group's limit, of this
        machine alone.
    on_error
        `fail`: bad images are all listed at the end and the data set is not completed. `skip`: they keep their slot.
    device
        Where the transform is computed; `auto` is a GPU where there is one, and on other machines the CPU.
    space_check
        Whether to refuse what will not fit on the disk.
    engine
        Where workers run: `engines.engine_of("ray")` for a cluster whose nodes see source and output under one path.
    """

    task: Task = ALONE
    workers: int | None = None
    max_memory: int | None = None
    on_error: OnError = "fail"
    device: Device = "auto"
    space_check: bool = True
    engine: Engine = Processes()  # noqa: RUF009 a frozen value


BY_DEFAULT = Execution()

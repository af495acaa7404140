"""Work gets done in any number of processes, and whatever ends a worker is said in words."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from spectral_prep.engines import run_all, usable_cpus
from spectral_prep.errors import InputError, WorkerError


def square(number: int) -> int:
    return number * number


def refuse(number: int) -> int:
    raise InputError("no such number", got=number, run="another")


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_is_done_once(workers) -> None:
    assert sorted(run_all(square, range(20), workers)) == [number**2 for number in range(20)]


@pytest.mark.parametrize("workers", [1, 2])
def test_our_errors_come_through_with_their_paragraph(workers) -> None:
    with pytest.raises(InputError, match=r"no such number\. Got: \d\. Run next: another"):
        list(run_all(refuse, range(4), workers))


def test_a_killed_worker_is_reported_and_nothing_hangs() -> None:
    with pytest.raises(WorkerError, match=r"a worker process was killed.*out-of-memory.*--workers 1"):
        list(run_all(die, range(4), 2))


def test_tasks_are_taken_as_they_are_needed() -> None:
    taken = []

    def tasks() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = run_all(square, tasks(), 2)
    next(results)
    assert len(taken) < 20
    results.close()


def test_there_is_at_least_one_cpu() -> None:
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)

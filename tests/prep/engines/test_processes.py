"""Work gets done in any number of processes, and whatever ends a worker is said in words."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable, Iterator

import pytest

from spectral_prep.engines.processes import run_all
from spectral_prep.errors import InputError, WorkerError


def square(number: int) -> int:
    return number * number


def refuse(number: int) -> int:
    raise InputError("no such number", got=number, run="another")


def die(number: int, doomed: int | None = None) -> int:
    if doomed in (None, number):
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fault(number: int) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def leave(number: int) -> None:
    os._exit(7)


def divide(number: int) -> float:
    return 1 / 0


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_is_done_once(workers: int) -> None:
    assert sorted(run_all(square, range(20), workers)) == [number**2 for number in range(20)]


def test_workers_have_what_was_set_in_the_environment_after_the_first_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    list(run_all(square, range(2), workers=2))
    monkeypatch.setenv("SET_SINCE", "yes")
    assert list(run_all(os.getenv, ["SET_SINCE"], workers=2)) == ["yes"]


@pytest.mark.parametrize("workers", [1, 2])
def test_our_errors_come_through_with_their_paragraph(workers: int) -> None:
    with pytest.raises(InputError, match=r"no such number\. Got: \d\. Run next: another"):
        list(run_all(refuse, range(4), workers))


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (die, r"a worker process was killed at [0-3]\..*out-of-memory.*--workers 1"),
        (fault, r"was killed at [0-3]\..*signal 11 \(Segmentation fault\)"),
        (leave, r"ended itself at [0-3]\..*exit code 7"),
    ],
)
def test_a_worker_that_dies_is_reported_with_its_task_and_nothing_hangs(
    end: Callable[[int], object], told: str
) -> None:
    with pytest.raises(WorkerError, match=told):
        list(run_all(end, range(4), 2))


def test_only_the_task_of_the_dead_worker_is_named() -> None:
    for doomed in (0, 5, 9):
        with pytest.raises(WorkerError, match=rf"was killed at {doomed}\."):
            list(run_all(functools.partial(die, doomed=doomed), range(10), 3))


def test_an_unexpected_error_keeps_the_place_where_it_happened() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        list(run_all(divide, range(2), 2))
    assert "in divide" in caught.value.__notes__[0]


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

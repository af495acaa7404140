"""Steps are told to whoever watches, from worker processes too, and to nobody else."""

from __future__ import annotations

import os

import pytest

from spectral_prep.engines.processes import run_all
from spectral_prep.system.watch import Step, counted, seldom, step, tell, watched


def told_by_worker(number: int) -> int:
    tell(Step(f"task {number}", os.getpid(), ended=True))
    return number


def test_nobody_hears_of_a_step_after_the_watch() -> None:
    seen: list[Step] = []
    with watched(seen.append):
        tell(Step("inside"))
    tell(Step("outside"))
    assert [told.name for told in seen] == ["inside"]


def test_what_fails_ends_its_step() -> None:
    seen: list[Step] = []
    with watched(seen.append):
        with pytest.raises(ZeroDivisionError), step("dividing"):
            1 / 0  # noqa: B018
        with pytest.raises(ZeroDivisionError):
            sum(1 / number for number in counted([1, 0], "dividing", "numbers"))
    assert [told.ended for told in seen] == [False, True, False, False, True]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_workers_tell_is_heard_here_and_is_no_result(workers: int) -> None:
    seen: list[Step] = []
    with watched(seen.append):
        assert sorted(run_all(told_by_worker, [1, 2, 3], workers)) == [1, 2, 3]
    assert sorted(told.name for told in seen) == ["task 1", "task 2", "task 3"]
    assert {told.done == os.getpid() for told in seen} == {workers == 1}


def test_a_worker_tells_seldom_but_of_each_start_and_end() -> None:
    seen: list[int] = []
    now = iter([0.0, 0.1, 0.2, 0.7, 0.8, 0.9])
    watch = seldom(lambda told: seen.append(told.done), lambda: next(now))
    for done in (1, 2, 3, 4, 5):
        watch(Step("block", done))
    watch(Step("block", 6, ended=True))
    assert seen == [1, 4, 6]

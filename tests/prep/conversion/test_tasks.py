"""Several machines share one conversion: the same bytes, whatever the order, doubled tasks and kills."""

from __future__ import annotations

import itertools
import os
import shlex
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from spectral_prep.conversion.agree import agreed, fix
from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.execution import Execution, Task
from spectral_prep.conversion.finalize import finalize
from spectral_prep.conversion.request import Request
from spectral_prep.errors import InputError, PlanMismatchError
from spectral_prep.sources import open_source
from spectral_prep.store.layout import DatasetPaths
from tests.support.commands import run, wait_for_blocks
from tests.support.trees import tree

DIGITS = Request("digits", "1x2", block_rows=250)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return tree(convert(DIGITS, Path(), tmp_path_factory.mktemp("alone") / "out").root)


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))], ids=str)
def test_three_tasks_in_any_order_give_the_bytes_of_one(
    tmp_path: Path, alone: dict[str, bytes], order: tuple[int, ...]
) -> None:
    for number in order:
        convert(DIGITS, Path(), tmp_path / "out", Execution(Task(number, 3)))
    assert not DatasetPaths(tmp_path / "out").manifest.exists()
    assert tree(finalize(tmp_path / "out").root) == alone


def test_doubled_and_overlapping_tasks_are_harmless(tmp_path: Path, alone: dict[str, bytes]) -> None:
    for number, count in ((0, 2), (0, 2), (2, 3), (1, 2)):
        convert(DIGITS, Path(), tmp_path / "out", Execution(Task(number, count)))
    assert tree(finalize(tmp_path / "out").root) == alone


def test_a_task_that_another_overtook_with_another_plan_is_refused(tmp_path: Path) -> None:
    """Both find an empty folder; the second finds a plan there when it comes to write its own."""
    paths, source = DatasetPaths(tmp_path / "out"), open_source("digits", Path(), tmp_path / "staging")
    first, second = (agreed(paths, source, source.index(), replace(DIGITS, seed=seed)) for seed in (1, 2))
    fix(first)
    fix(first)
    with pytest.raises(PlanMismatchError, match=r"seed: 1 there, 2 here"):
        fix(second)


@pytest.mark.parametrize(("done", "run_next"), [([0, 2], r"--task 1/3"), ([], r"convert command again: it"), ([0], "")])
def test_finalize_names_the_missing_blocks_and_the_task_that_makes_them(
    tmp_path: Path, alone: dict[str, bytes], done: list[int], run_next: str
) -> None:
    convert(DIGITS, Path(), tmp_path / "out", Execution(Task(7, 100)))
    for number in done:
        convert(DIGITS, Path(), tmp_path / "out", Execution(Task(number, 3)))
    with pytest.raises(InputError, match=rf"missing block \d \((train|test) rows \d+ to \d+\).*{run_next}") as caught:
        finalize(tmp_path / "out")
    assert caught.value.exit_code == 2
    convert(DIGITS, Path(), tmp_path / "out")
    assert tree(tmp_path / "out") == alone


def test_a_task_that_is_killed_is_run_again(
    tmp_path: Path, commands: Path, in_many_blocks: tuple[list[str], dict[str, bytes]]
) -> None:
    (arguments, whole), out = in_many_blocks, tmp_path / "out"
    line = [str(commands / "spectral-prep"), *arguments, "--workers", "2", "--out", str(out), "--task", "1/2"]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    wait_for_blocks(process, out, 3)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    again = shlex.join(["spectral-prep", *arguments, "--workers", "1"])
    for task in range(2):
        assert run(f"{again} --out {out} --task {task}/2").code == 0
    assert tree(finalize(out).root) == whole


@pytest.mark.parametrize("text", ["3/3", "-1/3", "1", "1/", "a/b", "0/0"])
def test_a_task_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"no such task.*such as 0/16"):
        Task.parse(text)


def test_the_commands_say_what_comes_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = "spectral-prep convert --dataset digits --q 1x2 --block-rows 250 --task"
    first = run(f"{line} 0/2 --verbose")
    assert "spectral-prep finalize spectral/digits-q1x2" in first.out
    assert "converting: 1,000 images in" in first.err  # of its own blocks: what is left is not of all
    missing = run("spectral-prep finalize spectral/digits-q1x2")
    assert missing.code == 2
    assert "--task 1/2: it converts only those; then spectral-prep finalize" in missing.err
    assert run(f"{line} 1/2").code == 0
    assert "Complete: spectral/digits-q1x2" in run("spectral-prep finalize spectral/digits-q1x2").out

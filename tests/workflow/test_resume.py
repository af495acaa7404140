"""Stopped at any moment and run again, a conversion ends in the bytes of an undisturbed run."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import psutil
import pytest

from spectral_prep.choices import Format
from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.request import Request
from spectral_prep.errors import PlanMismatchError
from spectral_prep.inspection.info import info
from spectral_prep.inspection.verify import verify
from spectral_prep.store.layout import DatasetPaths
from tests.support.commands import many_blocks, run, started, wait_for_blocks
from tests.support.releases import write_folder, write_mnist
from tests.support.trees import tree

FORMATS: tuple[Format, ...] = get_args(Format)

KILLED = """
import os, random, signal, sys
from pathlib import Path
import spectral_prep.conversion.convert as c
out, rng = Path(sys.argv[1]), random.Random(0)
for attempt in range(10):
    child, renames = os.fork(), rng.randrange(2, 45)
    if child == 0:
        rename = os.replace
        def counted(old, new):
            global renames
            renames -= 1
            if renames == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(old, new)
        os.replace = counted
        request = c.Request("digits", "4", block_rows=16, limit=900, format=sys.argv[2])
        c.convert(request, Path(), out, c.Execution(workers=1))
        os._exit(0)
    print(os.waitpid(child, 0)[1], len(list(out.glob("blocks/*.json"))), flush=True)
"""


@pytest.mark.parametrize("format", FORMATS)
def test_ten_kills_at_random_moments_and_a_rerun_give_the_bytes_of_an_undisturbed_run(
    tmp_path: Path, python: str, format: Format
) -> None:
    """Each kill comes just before a random rename of a file that is wholly written: the latest moment to lose it."""
    request = Request("digits", "4", block_rows=16, limit=900, format=format)
    undisturbed = convert(request, Path(), tmp_path / "undisturbed")
    killed = tmp_path / "killed"
    done = subprocess.run([python, "-c", KILLED, str(killed), format], check=True, capture_output=True, text=True)
    kills = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert [status for status, _ in kills] == [signal.SIGKILL] * 10
    blocks = [count for _, count in kills]
    assert blocks == sorted(blocks)
    assert 0 < blocks[4] < blocks[-1] < len(list(undisturbed.blocks.iterdir()))
    convert(request, Path(), killed)
    assert tree(killed) == tree(undisturbed.root)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("finished", [False, True], ids=["while completing", "while mending"])
def test_a_kill_while_a_data_set_is_completed_or_mended_is_healed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: bool, format: Format
) -> None:
    """At every rename; an exception that no code of ours catches stands for the kill."""
    request = Request("digits", "1x2", format=format, dtype="float16", limit=200)  # without a calibration
    paths = convert(request, Path(), tmp_path / "out")
    whole = tree(paths.root)
    part = paths.spectral(1).part("test", 0, format)
    replace = os.replace
    for call in range(1, 100):
        if finished:
            part.unlink()
        else:
            paths.manifest.unlink()
        calls = iter(range(1, 1000))

        def killed(old: str, new: str, calls: Iterator[int] = calls, call: int = call) -> None:
            if next(calls) == call:
                raise SystemExit("killed")
            replace(old, new)

        monkeypatch.setattr(os, "replace", killed)
        try:
            convert(request, Path(), paths.root)
        except SystemExit:
            assert not (paths.manifest.exists() and part.exists())
        else:
            break
        monkeypatch.setattr(os, "replace", replace)
        convert(request, Path(), paths.root)
        assert tree(paths.root) == whole
    assert call > 10


def test_what_a_kill_at_the_very_start_leaves_is_not_something_else(tmp_path: Path) -> None:
    (tmp_path / "plan.json.0123456789ab.partial").write_text("{")
    (tmp_path / "rows").mkdir()
    (tmp_path / ".staging-0123456789ab").mkdir()
    assert info(convert(Request("digits", "4"), Path(), tmp_path).root).complete
    assert not verify(tmp_path).faults


@pytest.mark.parametrize("victim", ["converter", "worker"])
def test_kill_9_leaves_no_process_behind_and_a_rerun_completes(
    tmp_path: Path, in_many_blocks: tuple[list[str], dict[str, bytes]], victim: str
) -> None:
    arguments, undisturbed = in_many_blocks
    process = started(*arguments, "--workers", "2", "--out", str(tmp_path / "out"))
    wait_for_blocks(process, tmp_path / "out", 3)
    workers = [each for each in psutil.Process(process.pid).children(recursive=True) if each.ppid() != process.pid]
    os.kill(process.pid if victim == "converter" else workers[-1].pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert group_ends(process.pid)
    if victim == "worker":
        assert process.returncode == 1
        assert re.search(r"Error: a worker process was killed at block \d+ \(train rows \d+ to \d+\)", errors)
        assert "Traceback" not in errors
    assert run(shlex.join(["spectral-prep", *arguments, "--workers", "1", "--out", str(tmp_path / "out")])).code == 0
    assert tree(tmp_path / "out") == undisturbed


def test_ctrl_c_ends_the_workers_and_says_what_to_run(tmp_path: Path) -> None:
    arguments = many_blocks(tmp_path)
    process = started(*arguments, "--workers", "2", "--out", str(tmp_path / "out"))
    wait_for_blocks(process, tmp_path / "out", 3)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Stopped" in errors
    assert "the same command" in errors
    assert "Traceback" not in errors
    assert not info(tmp_path / "out").complete
    assert group_ends(process.pid)


def group_ends(group: int) -> bool:
    """Wait until no process of a group is left."""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_two_conversions_at_once_do_each_other_no_harm(tmp_path: Path, commands: Path) -> None:
    write_mnist(tmp_path / "mnist", rows=600, test_rows=10)
    arguments = ["convert", "--dataset", "mnist", "--q", "4", "--block-rows", "15", "--source", str(tmp_path / "mnist")]
    arguments += ["--workers", "1", "--on-error", "skip", "--out"]
    line = [str(commands / "spectral-prep"), *arguments, str(tmp_path / "out")]
    both = [subprocess.Popen(line, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert run(shlex.join(["spectral-prep", *arguments, str(tmp_path / "alone")])).code == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "alone")


def test_rerunning_a_complete_conversion_writes_nothing(digits: Path) -> None:
    times = {path: path.stat().st_mtime_ns for path in digits.rglob("*")}
    convert(Request("digits", "4", block_rows=300), Path(), digits)
    assert {path: path.stat().st_mtime_ns for path in digits.rglob("*")} == times


def test_rerunning_a_complete_conversion_needs_no_right_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, out = Request("digits", "1x2"), tmp_path / "out"
    convert(request, Path(), out)
    touched = []

    def watch(name: str, writes: Callable[..., bool]) -> None:
        real = getattr(os, name)

        def watched(path: str, *rest: Any, **named: Any) -> Any:
            if out in (Path(path), *Path(path).parents) and writes(*rest):
                touched.append((name, path))
            return real(path, *rest, **named)

        monkeypatch.setattr(os, name, watched)

    watch("open", lambda flags, *_: bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)))
    watch("mkdir", lambda *_: True)
    watch("unlink", lambda *_: True)
    watch("replace", lambda *_: True)
    convert(request, Path(), out)
    assert not touched
    DatasetPaths(out).block(0).unlink()
    convert(request, Path(), out)
    assert touched


def test_a_part_that_was_deleted_or_cut_is_written_again(digits: Path) -> None:
    whole = tree(digits)
    paths = DatasetPaths(digits)
    paths.spectral(1).part("train", 2, "zarr").unlink()
    cut = paths.spectral(3).part("test", 0, "zarr")
    cut.write_bytes(cut.read_bytes()[:-1])
    convert(Request("digits", "4", block_rows=300), Path(), digits)
    assert tree(digits) == whole


def test_another_plan_in_the_same_folder_is_refused_with_the_difference(digits: Path) -> None:
    whole = tree(digits)
    with pytest.raises(PlanMismatchError) as caught:
        convert(Request("digits", "4", block_rows=300, transform="none", seed=5), Path(), digits)
    assert "spec.transform: dct there, none here" in str(caught.value)
    assert "seed: 0 there, 5 here" in str(caught.value)
    assert caught.value.exit_code == 2
    assert tree(digits) == whole


def test_a_source_that_changed_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "set", ["train/a/1.png", "train/b/2.png"])
    convert(Request("folder", "4"), tmp_path / "set", tmp_path / "out")
    write_folder(tmp_path / "set", ["train/b/3.png"])
    with pytest.raises(PlanMismatchError, match="this is another source"):
        convert(Request("folder", "4"), tmp_path / "set", tmp_path / "out")

"""deploy/slurm on a real Slurm of one node: the whole road by arrays and dependencies, tasks requeued in the middle."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.request import Request
from spectral_train.run.paths import RunPaths
from tests.support.commands import run
from tests.support.pages import ROOT, shell
from tests.support.runs import equal_weights
from tests.support.services import wait_until
from tests.support.slurm import Slurm, cluster
from tests.support.trees import tree

SCRIPTS = ROOT / "deploy/slurm"
PAGE = "docs/clusters.md"
LINE = shell(PAGE, "Slurm")[0].strip()
OUT, RUN = re.findall(r"(?:OUT|RUN)=(\S+)", LINE)
EPOCHS = "--epochs 60"
OPTIONS = {"CONVERT_OPTIONS": "--block-rows 20", "TRAIN_OPTIONS": EPOCHS, "SHARDS": "2"}
BLOCKS_OF_TASK_0 = 45
"""1,797 digits in blocks of 20, every second one."""
VARIABLES = {
    "submit": "DATASET OUT Q RUN",
    "begin": "DATASET OUT Q",
    "convert": "DATASET OUT Q TASKS SLURM_ARRAY_TASK_ID",
    "finalize": "OUT",
    "train": "OUT RUN SHARDS SLURM_ARRAY_TASK_ID",
    "evaluate": "RUN",
}


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with cluster() as started:
        yield started


@contextmanager
def submitted(slurm: Slurm, line: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Run a line that submits jobs and waits until the last one is done."""
    env, pipe = {**slurm.env, **variables}, subprocess.PIPE
    command = ["bash", "-euc", line]
    with subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return the exit code and all that was said, by the jobs too."""
    out, err = process.communicate(timeout=600)
    return process.returncode, "\n".join([out, err, *(log.read_text() for log in sorted(Path().glob("**/*.log")))])


def requeue(slurm: Slurm, name: str) -> str:
    """Take task 0 of an array off its node, as a preemption would; return the array's number when it is off."""
    array = slurm.job(name)
    task = f"{array}_0"
    slurm("scontrol", "requeue", task)
    state = ("squeue", "--noheader", f"--jobs={task}", "--array", "--format=%T")
    wait_until(lambda: slurm(*state) == "PENDING", lambda: f"{task} is not requeued: {slurm(*state)}")
    return array


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.timeout(900)  # eleven commands, which all import torch
def test_the_whole_road_with_tasks_requeued_in_the_middle(slurm: Slurm, clone: Path) -> None:
    out, branch, logs = clone / OUT, RunPaths(clone / RUN).branch(0), clone / "logs"
    with submitted(slurm, LINE, **OPTIONS, WAIT="yes") as road:
        wait_until((out / "blocks/00000.json").exists, lambda: str(tree(logs)))
        converting = requeue(slurm, "spectral-convert")
        assert 0 < sum(int(block.stem) % 2 == 0 for block in out.glob("blocks/*.json")) < BLOCKS_OF_TASK_0
        wait_until(lambda: lines(branch.metrics) > 2, lambda: str(tree(logs)))
        training = requeue(slurm, "spectral-train")
        assert branch.checkpoint.exists()
        assert not branch.record.exists()
        code, said = finish(road)
    assert code == 0, said
    for task, once in {f"convert-{converting}_0": "1,797 images", f"train-{training}_0": "of rows, resident"}.items():
        assert (logs / f"spectral-{task}.log").read_text().count(once) == 2, said

    convert(Request("digits", "4", block_rows=20), Path(), clone / "local")
    assert tree(out) == tree(clone / "local")
    assert run(f"spectral-train --shard all --workers 1 --shards 2 --data local --run runs/local {EPOCHS}").code == 0
    for shard in range(2):
        assert equal_weights(RunPaths(clone / RUN).branch(shard), RunPaths(clone / "runs/local").branch(shard))
    (begun,) = logs.glob("spectral-begin-*.log")
    assert f"Begun: {OUT}." in begun.read_text()
    assert "of memory with" in begun.read_text()
    assert "of memory with" not in (logs / f"spectral-convert-{converting}_1.log").read_text()  # begun already
    (table,) = logs.glob("spectral-evaluate-*.log")
    assert table.read_text() == run("spectral-ensemble evaluate runs/local").out

    before = tree(out)
    with submitted(slurm, shell(PAGE, "Slurm")[1]) as again:
        code, said = finish(again)
    assert code == 0, said
    assert tree(out) == before


def test_what_follows_a_task_that_failed_is_cancelled(slurm: Slurm, clone: Path) -> None:
    with submitted(slurm, LINE, CONVERT_OPTIONS="--dtype no", WAIT="yes") as road:
        code, said = finish(road)
    assert code == 1
    assert "Error: not all jobs were done. Where: logs." in said
    wait_until(lambda: not slurm.waiting(), lambda: str(slurm.waiting()))
    assert {log.name.split("-")[1] for log in (clone / "logs").iterdir()} == {"begin"}


def test_a_road_that_cannot_be_submitted_whole_is_not_begun(slurm: Slurm, clone: Path) -> None:
    with submitted(slurm, LINE, TRAIN_SBATCH="--partition=nowhere") as road:
        code, said = finish(road)
    assert code != 0
    assert "invalid partition specified: nowhere" in said
    wait_until(lambda: not slurm.waiting(), lambda: str(slurm.waiting()))
    assert not (clone / OUT / "manifest.json").exists()


def said_by(script: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a script where every variable that it needs is 4, but for those given."""
    given = {"PATH": os.environ["PATH"], **dict.fromkeys(VARIABLES[script].split(), "4"), **env}
    return subprocess.run(["/bin/bash", SCRIPTS / f"{script}.sh"], env=given, capture_output=True, text=True)


@pytest.mark.parametrize("script", VARIABLES)
def test_a_variable_that_is_missing_is_named(script: str) -> None:
    for name in VARIABLES[script].split():
        done = said_by(script, **{name: ""})
        assert done.returncode != 0
        assert f"{name}: " in done.stderr


def test_a_grid_that_is_none_is_refused(clone: Path) -> None:
    done = said_by("submit", Q="4; echo no")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Q is a number or two" in done.stderr


def test_a_command_that_is_not_on_the_path_is_named(commands: Path) -> None:
    done = said_by("submit", PATH=str(commands))
    assert (done.returncode, done.stdout) == (2, "")
    assert "no sbatch on the PATH" in done.stderr


def test_every_job_can_be_requeued() -> None:
    for script in set(VARIABLES) - {"submit"}:
        said = (SCRIPTS / f"{script}.sh").read_text().splitlines()
        assert {"#SBATCH --requeue", "#SBATCH --open-mode=append"} <= set(said)

"""deploy/ssh/run.sh with a real ssh server and rsync: shards go out, branches come back, a lost host is made up for."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.request import Request
from spectral_train.run.paths import RunPaths
from tests.support.commands import run
from tests.support.pages import shell
from tests.support.runs import equal_weights
from tests.support.sshd import server

(LINE,) = shell("docs/clusters.md", "ssh")
DATA, RUN = re.findall(r"(?:DATA|RUN)=(\S+)", LINE)
OPTIONS = "--epochs 2"


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with server(tmp_path_factory.mktemp("sshd")) as configuration:
        yield configuration


def go(line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **variables}
    return subprocess.run(["bash", "-euc", line], env=env, capture_output=True, text=True, timeout=200)


def test_branches_are_trained_elsewhere_and_what_a_lost_host_had_is_done_by_another(
    hosts: Path, clone: Path, commands: Path
) -> None:
    convert(Request("digits", "1x2"), Path(), clone / DATA)
    work = clone / "a folder of the host"
    given = {"SSH": f"ssh -F {hosts}", "BIN": str(commands), "WORK": str(work), "TRAIN_OPTIONS": OPTIONS}

    lost = go(LINE.replace("node-a", "gone"), **given)
    assert lost.returncode == 1
    assert "Error: not all branches were trained on gone. Run next: the same line, without hosts" in lost.stderr
    assert sorted(os.listdir(clone / RUN)) == ["branch-01"]

    whole = go(LINE, **given)
    assert whole.returncode == 0, whole.stderr
    assert "branch 1" not in whole.stderr
    assert sorted(os.listdir(work / "data")) == ["spectral-00", "spectral-01"]

    assert run(f"spectral-train --shard all --workers 1 --data {DATA} --run runs/local {OPTIONS}").code == 0
    for shard in range(2):
        assert equal_weights(RunPaths(clone / RUN).branch(shard), RunPaths(clone / "runs/local").branch(shard))
    assert whole.stdout.endswith(run("spectral-ensemble evaluate runs/local").out)


@pytest.mark.parametrize("name", ["HOSTS", "DATA", "RUN"])
def test_a_variable_that_is_missing_is_named(clone: Path, name: str) -> None:
    done = go(re.sub(rf"{name}=('[^']*'|\S+)", "", LINE))
    assert done.returncode != 0
    assert f"{name}: set {name}: " in done.stderr


def test_a_data_set_that_is_not_complete_is_not_sent(clone: Path) -> None:
    done = go(LINE)
    assert done.returncode == 2
    assert f"no complete data set. Where: {DATA}. Run next: spectral-prep finalize {DATA}" in done.stderr

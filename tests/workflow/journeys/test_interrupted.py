"""Two trainings of one branch: the second is told of the first, and goes on where that was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

from spectral_train.run.paths import RunPaths
from tests.support.commands import done, run
from tests.support.runs import equal_weights

TRAIN = "--shard 1 --model fc --set width=16 --set depth=2 --epochs 4 --device cpu --workers 1"
HELD = """
import os, sys, time, cli
from pathlib import Path
from spectral_train.training import fit
score, calls = fit.score, iter(range(100))

def held(*arguments):
    if next(calls) == 2:
        Path(f"{there}.new").write_text(str(os.getpid()))
        os.rename(f"{there}.new", there)
        time.sleep(600)
    return score(*arguments)

fit.score = held
there, *arguments = sys.argv[1:]
cli.train(arguments)
"""


def test_the_second_goes_on_where_the_first_was_killed(tmp_path: Path, python: str) -> None:
    done("spectral-prep convert --dataset digits --q 1x2 --workers 1 --out spectral/digits")
    arguments = [*TRAIN.split(), "--data", f"{tmp_path}/spectral/digits", "--run", f"{tmp_path}/runs/a"]
    there = tmp_path / "in the third epoch"
    first = subprocess.Popen([python, "-c", HELD, there, *arguments])
    while not there.exists():
        assert first.poll() is None
        time.sleep(0.02)
    holder = int(there.read_text())
    try:
        refused = run(f"spectral-train {TRAIN} --run runs/a")
        assert refused.code == 2
        assert "branch 1 is trained already by another process" in refused.err.replace("\n", " ")
        assert f"process {holder} on " in refused.err
    finally:
        os.kill(holder, signal.SIGKILL)
        first.wait()
    stopped = RunPaths(tmp_path / "runs/a").branch(1)
    assert stopped.checkpoint.is_file()
    done(f"spectral-train {TRAIN} --run runs/a")
    done(f"spectral-train {TRAIN} --run runs/undisturbed")
    assert equal_weights(stopped, RunPaths(tmp_path / "runs/undisturbed").branch(1))
    lines = (tmp_path / "runs/a/branch-01/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4]
    missing = run("spectral-ensemble evaluate runs/a")
    assert (missing.code, "spectral-train --shard 0 --model fc --epochs 4" in missing.err) == (2, True)

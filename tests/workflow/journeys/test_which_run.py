"""Two runs of different settings: which is the better one, and what may go of the other."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest

from tests.support.commands import done, run
from tests.support.trees import tree

TRAIN = "spectral-train --shard all --model fc --set depth=2 --lr 0.01 --batch-size 32 --workers 1"


def test_they_are_listed_and_compared_and_the_worse_one_is_cleaned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done("spectral-prep convert --dataset digits --limit 300 --q 1x2 --workers 1")
    done(f"{TRAIN} --set width=32 --epochs 6 --run runs/wide")
    done(f"{TRAIN} --set width=2 --epochs 1 --run runs/narrow")

    listed = done("spectral-ensemble runs").out.splitlines()[1:]
    assert [line.split()[0] for line in listed] == ["runs/narrow", "runs/wide"]
    assert all("2 of 2" in line for line in listed)
    ensemble = {each["run"]: each["ensemble"] for each in json.loads(done("spectral-ensemble runs --json").out)}
    for name, accuracy in ensemble.items():
        evaluated = json.loads(done(f"spectral-ensemble evaluate {name} --scheme geometric --json").out)
        assert accuracy == evaluated["ensemble"]["geometric"]
    worse, better = sorted(ensemble, key=lambda name: ensemble[name])
    assert (worse, better) == ("runs/narrow", "runs/wide")

    compared = done(f"spectral-ensemble runs {worse} {better}").out
    rows = {line.split()[0]: line.split()[1:] for line in compared.splitlines() if line.strip()}
    assert (rows["epochs"], rows["model_options.width"]) == (["1", "6"], ["2", "32"]), compared
    assert "depth" not in rows, "only what differs"
    assert all(f"{100 * ensemble[name]:.2f} %" in compared for name in (worse, better))

    for name in (worse, better):  # what a kill between the record and the end leaves
        branch = tmp_path / name / "branch-01"
        shutil.copy(branch / "model.safetensors", branch / "checkpoint.safetensors")
    before = tree(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    asked = run(f"spectral-ensemble runs {worse} --clean")
    assert (asked.code, "Remove 1 file, " in asked.err, tree(tmp_path)) == (0, True, before)
    assert asked.out.startswith("0 files removed")
    assert f"{worse}/branch-01/checkpoint.safetensors" in asked.err
    assert done(f"spectral-ensemble runs {worse} --clean --yes").out.startswith("1 file removed")
    gone = before.keys() - tree(tmp_path).keys()
    assert tree(tmp_path) == {path: content for path, content in before.items() if path not in gone}
    assert gone == {f"{worse}/branch-01/checkpoint.safetensors"}
    assert "Nothing to remove" in done(f"spectral-ensemble runs {worse} --clean").out

"""One copied shard on each of several machines, the branches back in one run: machines are folders here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from spectral_prep.console.text import what_next
from spectral_prep.places.url import Url
from tests.support.commands import done
from tests.support.pages import ROOT
from tests.support.releases import write_folder

OPTIONS = "--model fc --set width=4 --set depth=1 --epochs 1"

# Machines are folders; what is copied to one, or runs there, is so in its folder.
RSYNC = """#!/bin/sh
here() { case $1 in node-*:*) echo "$NODES/${1%%:*}/${1#*:}" ;; *) echo "$1" ;; esac; }
mkdir -p "$(here "$3")" && cp -r "$(here "$2")" "$(here "$3")"
"""
SSH = """#!/bin/sh
mkdir -p "$NODES/$2" && cd "$NODES/$2" && shift 2 && exec sh -c "$*"
"""


def test_each_machine_has_one_spectral_and_the_branches_are_one_run(clone: Path) -> None:
    write_folder(clone / "my photos", [f"{name}/{n}.png" for name in ("cat", "dog") for n in range(10)], size=(40, 30))
    env = {**os.environ, "PHOTOS": "my photos", "SIZE": "28", "TRAIN_OPTIONS": OPTIONS}
    script = ROOT / "examples/four-machines.sh"
    finished = subprocess.run([script], env=env, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert "my-photos (Q = 4)" in finished.stdout
    assert "\nfused on logits (" in finished.stdout
    for number in range(4):
        node = clone / f"four-machines/node-{number}"
        assert sorted(os.listdir(node)) == ["run", f"spectral-0{number}"]
    assert [name for name in sorted(os.listdir(clone / "four-machines/run")) if name.startswith("branch")] == [
        f"branch-0{number}" for number in range(4)
    ]


@pytest.mark.timeout(300)
def test_the_commands_that_a_conversion_prints_run_as_they_stand(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools, out = clone / "tools", "my sets/two spectrals"
    tools.mkdir()
    for name, script in (("rsync", RSYNC), ("ssh", SSH)):
        (tools / name).write_text(script)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NODES", str(clone / "nodes"))
    source = "rows=60,test=20,classes=2,size=8"
    told = done(f"spectral-prep convert --dataset synthetic --source {source} --q 1x2 --workers 1 --out '{out}'").out
    assert f"spectral-train --shard all --data '{out}'\n" in told
    printed = told.partition("one spectral each:\n")[2]
    finished = subprocess.run(["sh", "-e"], input=printed, capture_output=True, text=True, cwd=clone)
    assert finished.returncode == 0, finished.stderr
    assert "synthetic (Q = 2)" in finished.stdout
    assert sorted(path.name for path in (clone / "runs/two-spectrals").iterdir()) == ["branch-00", "branch-01"]
    assert [path.name for path in (clone / "nodes/node-01/two-spectrals").iterdir()] == ["spectral-01"]


def test_from_a_bucket_nothing_is_copied() -> None:
    told = what_next(Url("s3", "bucket", "a set"), 16)
    assert "rsync" not in told
    assert "--data 's3://bucket/a set' --run 's3://bucket/a set-run'" in told
    assert told.endswith("spectral-ensemble evaluate 's3://bucket/a set-run'")

"""examples/four-machines.sh: photographs on four machines that are folders."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.pages import ROOT
from tests.support.releases import write_folder

OPTIONS = "--model fc --set width=4 --set depth=1 --epochs 1"


def test_each_machine_has_one_spectral_and_the_branches_are_one_run(clone: Path) -> None:
    write_folder(clone / "my photos", [f"{name}/{n}.png" for name in ("cat", "dog") for n in range(10)], size=(40, 30))
    env = {**os.environ, "PHOTOS": "my photos", "SIZE": "28", "TRAIN_OPTIONS": OPTIONS}
    script = ROOT / "examples/four-machines.sh"
    done = subprocess.run([script], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "my-photos (Q = 4)" in done.stdout
    for number in range(4):
        node = clone / f"four-machines/node-{number}"
        assert sorted(os.listdir(node)) == ["run", f"spectral-0{number}"]
    assert [name for name in sorted(os.listdir(clone / "four-machines/run")) if name.startswith("branch")] == [
        f"branch-0{number}" for number in range(4)
    ]

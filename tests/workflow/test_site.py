"""The documentation builds into a site, strictly: no link leads nowhere, and what the reference names is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.pages import ROOT


def test_the_site_builds_with_its_reference_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'id="spectral_train.data.shard.open_shard"' in (tmp_path / "api/spectral_train/index.html").read_text()
    assert (tmp_path / "deploy/slurm/submit.sh").read_bytes() == (ROOT / "deploy/slurm/submit.sh").read_bytes()
    first = (tmp_path / "index.html").read_text()
    assert (tmp_path / "spectrals.png").exists()
    assert re.findall(r'<(?:script|img)[^>]*src="https?://|<link[^>]*rel="stylesheet"[^>]*href="https?://', first) == []

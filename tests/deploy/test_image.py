"""deploy/Dockerfile, without Docker: what it copies is enough to build the wheel, and its lines of pip install that."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.pages import ROOT

TEXT = (ROOT / "deploy/Dockerfile").read_text()
PIP = f"""
pip() {{ '{sys.executable}' -m pip --quiet --disable-pip-version-check "$@"; }}
"""


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} (.+)$", TEXT, re.MULTILINE)


def test_what_is_copied_makes_a_wheel_that_installs_with_the_commands(tmp_path: Path) -> None:
    context, wheels = tmp_path / "context", tmp_path / "wheels"
    context.mkdir()
    for line in instructions("COPY"):
        *sources, target = line.split()
        for source in sources:
            if source == "--from=build":
                break
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, context / target, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
            else:
                shutil.copy(ROOT / source, context / target)
    build, torch, install = [line for line in instructions("RUN") if line.startswith("pip ")]
    assert torch.endswith("torch torchvision")  # timm's torchvision, too: another one would bring another torch
    environment = {**os.environ, "SPECTRAL_BUILDS": "", "EXTRAS": "gzip", "PYTHONPATH": ""}
    here = {"pip wheel": "pip wheel --no-build-isolation --no-index", "/wheels": str(wheels)}
    there = {
        "pip install": f"pip install --no-deps --no-index --target '{tmp_path / 'installed'}'",
        "/wheels": str(wheels),
    }
    for line, words in ((build, here), (install, there)):
        for said, meant in words.items():
            line = line.replace(said, meant)
        done = subprocess.run(["sh", "-euc", PIP + line], cwd=context, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "does not provide the extra" not in done.stderr
    assert {"spectral_prep", "spectral_train"} <= set(os.listdir(tmp_path / "installed"))
    assert {"spectral-prep", "spectral-train", "spectral-ensemble"} <= set(os.listdir(tmp_path / "installed/bin"))


def test_an_init_hands_signals_on() -> None:
    assert instructions("ENTRYPOINT") == ['["tini", "--"]']
    assert any("install --yes --no-install-recommends tini" in line for line in instructions("RUN"))

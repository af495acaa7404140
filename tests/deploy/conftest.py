"""What every road to a cluster starts from: a folder with `deploy/` in it, and the commands on the PATH."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.services import ROOT, install_commands


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three commands, and nothing else."""
    return install_commands(tmp_path_factory.mktemp("commands"))


@pytest.fixture
def clone(tmp_path: Path, commands: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a user stands in, as it is the clone that the pages speak of."""
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
    return tmp_path

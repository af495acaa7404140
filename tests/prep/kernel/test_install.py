"""A wheel brings the compiled CPU kernel to where no compiler is; a source archive falls back there, and says so."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SPLIT = """
import logging, torch
from spectral_prep import kernel
from spectral_prep.kernel import cpu, fused_split
from spectral_prep.spectrum import SpectralSpec, split
logging.basicConfig(format="said: %(message)s")
batch = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8)
for _ in range(2):
    stored = fused_split(batch, SpectralSpec(4, 4))
assert torch.allclose(stored.float(), split(batch, SpectralSpec(4, 4)), rtol=1e-3, atol=1e-3)
print(kernel.__file__, "compiled" if cpu.kernel() else "torch")
"""

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++ to build the wheel with")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive, which holds no library."""
    folder = tmp_path_factory.mktemp("source")
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    for name in ("spectral_prep", "spectral_train"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("cli.py", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    subprocess.run([sys.executable, "setup.py", "--quiet", "sdist"], cwd=folder, check=True, capture_output=True)
    (archive,) = (folder / "dist").glob("*.tar.gz")
    return archive


def installed(source: Path, target: Path, path: str) -> str:
    """Build with what is on `path` (baseline only: the fastest), install, and split in there; return what was said."""
    environment = os.environ | {
        "PATH": path,
        "SPECTRAL_BUILDS": "baseline",
        "PYTHONPATH": "",
        "CC": "gcc",
        "CXX": "g++",
    }
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*pip, *options, source], env=environment, check=True, capture_output=True)
    away = environment | {"PYTHONPATH": str(target), "PATH": "/nowhere"}
    command = [sys.executable, "-P", "-c", SPLIT]
    done = subprocess.run(command, cwd=target, env=away, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def test_an_index_shows_the_readme_without_links_into_the_repository(source: Path) -> None:
    with tarfile.open(source) as archive:
        (name,) = [name for name in archive.getnames() if name.count("/") == 1 and name.endswith("/PKG-INFO")]
        member = archive.extractfile(name)
        assert member is not None
        metadata = email.message_from_bytes(member.read())
    description = str(metadata.get_payload())
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "## Your own photographs on four machines" in description
    assert re.findall(r"!\[|\]\((?!https://)", description) == []


def test_a_wheel_works_without_a_compiler_and_without_one_torch_computes(source: Path, tmp_path: Path) -> None:
    with_compiler = installed(source, tmp_path / "with", os.environ["PATH"])
    assert with_compiler.strip() == f"{tmp_path / 'with' / 'spectral_prep' / 'kernel' / '__init__.py'} compiled"
    without = installed(source, tmp_path / "without", "/nowhere")
    assert without.split()[1] == "torch"
    assert without.count("said: no compiled CPU kernel is installed") == 1

"""A wheel brings the compiled CPU kernel to where no compiler is; without one no build fails, and it is said."""

from __future__ import annotations

import email
import os
import platform
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

STUB = """#!/bin/sh
# A compiler that waits until another is at work, too, and knows no AVX-512.
for word; do [ "$previous" = -o ] && out=$word; previous=$word; done
case "$*" in *" -c "*)
  touch "$0.$$"
  tries=0
  while [ "$(ls "$0".* | wc -l)" -lt 2 ]; do [ $((tries += 1)) -lt 600 ] || exit 1; sleep 0.1; done
esac
case "$*" in *x86-64-v4*) exit 1; esac
touch "$out"
"""

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++ to build the wheel with")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive, which holds no library."""
    folder = tmp_path_factory.mktemp("source")
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    for name in ("spectral_prep", "spectral_train"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    subprocess.run([sys.executable, "setup.py", "--quiet", "sdist"], cwd=folder, check=True, capture_output=True)
    (archive,) = (folder / "dist").glob("*.tar.gz")
    return archive


def installed(source: Path, target: Path, path: str) -> str:
    """Build with what is on `path`, install, and split in there; return what was said.

    The baseline only, and not optimised: that takes a tenth of the time.
    """
    target.mkdir()
    for name in ("gcc", "g++"):
        quick = target.with_name(f"{target.name}-{name}")
        quick.write_text(f'#!/bin/sh\nexec {name} "$@" -O0\n')
        quick.chmod(0o755)
    environment = os.environ | {
        "PATH": path,
        "SPECTRAL_BUILDS": "baseline",
        "PYTHONPATH": "",
        "CC": f"{target}-gcc",
        "CXX": f"{target}-g++",
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


@needs_compiler
def test_a_wheel_works_without_a_compiler_and_without_one_torch_computes(source: Path, tmp_path: Path) -> None:
    with_compiler = installed(source, tmp_path / "with", os.environ["PATH"])
    assert with_compiler.strip() == f"{tmp_path / 'with' / 'spectral_prep' / 'kernel' / '__init__.py'} compiled"
    without = installed(source, tmp_path / "without", "/nowhere")
    assert without.split()[1] == "torch"
    assert without.count("said: no compiled CPU kernel is installed") == 1
    _brings_the_packages_alone_and_their_commands(tmp_path / "with")


def _brings_the_packages_alone_and_their_commands(target: Path) -> None:
    """No module beside them, such as `cli`, that another package's of the same name would overwrite."""
    (metadata,) = target.glob("spectral_shards-*.dist-info")
    assert {path.name for path in target.iterdir()} == {"bin", "spectral_prep", "spectral_train", metadata.name}
    assert (metadata / "licenses" / "LICENSE").exists()
    assert (target / "spectral_prep" / "py.typed").exists()
    assert (target / "spectral_train" / "py.typed").exists()
    version = metadata.name.removeprefix("spectral_shards-").removesuffix(".dist-info")
    for name in ("spectral-prep", "spectral-train", "spectral-ensemble"):
        command = [str(target / "bin" / name), "--version"]
        environment = {**os.environ, "PYTHONPATH": str(target)}
        done = subprocess.run(command, cwd=target, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == f"{name}, version {version}\n"


def built(source: Path, scratch: Path, compiler: str) -> str:
    """Build the libraries alone with a compiler, and return what was said."""
    command = [
        sys.executable,
        "setup.py",
        "build_ext",
        "--build-lib",
        str(scratch / "lib"),
        "--build-temp",
        str(scratch / "temp"),
    ]
    environment = os.environ | {"CC": compiler, "CXX": compiler}
    folder = source.parents[1]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


@pytest.mark.parametrize("compiler", ["/nowhere/g++", "false", pytest.param("g++ -nostdinc", marks=needs_compiler)])
def test_no_compiler_one_that_fails_and_one_without_headers_fail_no_install(
    source: Path, tmp_path: Path, compiler: str
) -> None:
    said = built(source, tmp_path, compiler)
    assert said.count("CPU kernel not built: baseline") == 1
    assert said.count("the package will compute with torch operations") == 1
    assert "CPU kernel built" not in said


@pytest.mark.skipif(platform.machine() != "x86_64" or os.cpu_count() == 1, reason="needs two builds and two cores")
def test_builds_are_compiled_side_by_side_and_one_that_fails_is_named(source: Path, tmp_path: Path) -> None:
    stub = tmp_path / "stub"
    stub.write_text(STUB)
    stub.chmod(0o755)
    said = built(source, tmp_path, str(stub))
    assert "CPU kernel built: baseline, avx2\n" in said
    assert "CPU kernel not built: avx512\n" in said
    libraries = {path.name.partition(".")[0] for path in (tmp_path / "lib").rglob("*.so")}
    assert libraries == {"_cpu_baseline", "_cpu_avx2"}


def test_a_release_has_wheels_for_every_python_on_both_processors() -> None:
    command = [sys.executable, "-m", "cibuildwheel", "--print-build-identifiers", "--platform", "linux", str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    pythons, processors = ("cp311", "cp312", "cp313"), ("x86_64", "aarch64")
    assert set(done.stdout.split()) == {f"{each}-manylinux_{one}" for each in pythons for one in processors}

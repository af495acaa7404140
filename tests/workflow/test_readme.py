"""Every block of code in the README runs as it stands, on small sets that lie where the README says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from spectral_prep.places.url import Url
from tests.support.commands import COMMANDS, run
from tests.support.releases import cifar_rows, write_cifar, write_folder, write_mnist

BUCKET = "s3://bucket"
README = Path(__file__).parents[2] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)


def lines() -> Iterator[str]:
    """Yield the command lines, without comments; the download is left out, since a test has no network.

    The line for Slurm runs in `tests/deploy/test_slurm.py`.
    """
    for block in blocks("sh"):
        for line in block.splitlines():
            if line.partition(" ")[0] in COMMANDS:
                yield line.partition(" #")[0].replace(" --download", "").strip()


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data sets that the README names, small."""
    root = tmp_path_factory.mktemp("newcomer")
    write_mnist(root / "data/mnist", rows=40, test_rows=20)
    write_cifar(root / "data/cifar10", "cifar10", "python.tar.gz", cifar_rows())
    write_folder(root / "data/imagenet", ["train/n01/1.png", "train/n02/2.png", "val/n01/3.png"], size=(260, 300))
    write_folder(root / "photos", ["cat/1.png", "dog/2.png", "cat/3.png"], size=(240, 230))
    Image.new("L", (28, 28), 7).save(root / "digit.png")
    return root


@pytest.mark.timeout(900)  # every command that there is, some of them training 16 branches
def test_every_command_line_runs_in_its_order(newcomer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(newcomer)
    ran = []
    for line in (line for line in lines() if BUCKET not in line):
        if line.startswith("spectral-train") and "--data" not in line:
            line = f"{line} --data spectral/mnist-q16"  # here more than one data set was converted
        finished = run(line)
        assert finished.code == 0, f"{line}\n{finished.err}"
        ran.append(line)
    assert len(ran) >= 12


def test_every_command_line_about_buckets_runs_in_its_order(bucket: Url) -> None:
    ran = [run(line.replace(BUCKET, str(bucket))) for line in lines() if BUCKET in line]
    assert len(ran) == 3
    assert [finished.code for finished in ran] == [0] * 3, "\n".join(finished.err for finished in ran)
    assert re.search(r"^digits \(Q = 4\) ", ran[-1].out, re.MULTILINE)


def test_every_python_block_runs(newcomer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(newcomer)
    if not Path("spectral/mnist-q16").exists():
        assert run("spectral-prep convert --dataset mnist --q 16").code == 0
    assert len(blocks("python")) >= 2
    for block in blocks("python"):
        exec(compile(block, str(README), "exec"), {})


def test_no_placeholder_is_left() -> None:
    assert not re.findall(r"[A-Z]+_(?:ROWS|MNIST|TABLE)|FIGURES", README.read_text())


def test_the_files_that_the_readme_links_to_are_there() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", README.read_text())
    assert targets
    for target in targets:
        assert (README.parent / target).exists(), target

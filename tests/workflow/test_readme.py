"""Every block of code in the README and in the guide runs as it stands, on small sets that lie where the pages say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from spectral_prep.places.url import Url
from tests.support.commands import COMMANDS, run
from tests.support.pages import ROOT
from tests.support.releases import cifar_rows, write_cifar, write_folder, write_mnist

README = "README.md"
GUIDE = (
    "docs/convert.md",
    "docs/training.md",
    "docs/combine.md",
    "docs/serving.md",
    "docs/python.md",
    "docs/cookbook.md",
)
BUCKET = "s3://bucket"
NODE = r"--data (spectral-\d\d) --run run$"
TRAINS = r"spectral-train (?!--list)|spectral-ensemble fuse "
MOST_LINES = 150
"""Of the README, which is a lesson."""

CONVERTED = "spectral-prep convert --dataset mnist --q 16"
TRAINED = "spectral-train --shard all --data spectral/mnist-q16 --model fc --set width=4 --set depth=2 --epochs 1"
BEFORE = {
    "docs/training.md": [CONVERTED],
    "docs/combine.md": [CONVERTED, TRAINED, f"{TRAINED} --seed 1 --run runs/poster"],
    "docs/python.md": [CONVERTED],
}
"""What a reader of a page has run, small."""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


def lines(page: str) -> Iterator[str]:
    """Yield the command lines, without comments; the download is left out, since a test has no network.

    Networks and heads are trained for one epoch. A machine of the README is a folder here: what rsync brings there is
    taken from where it lies.
    """
    for block in blocks(page, "sh"):
        for line in block.splitlines():
            if line.partition(" ")[0] in COMMANDS:
                line = line.partition(" #")[0].replace(" --download", "").strip()
                line = re.sub(NODE, r"--data spectral/photos-q4/\1 --run runs/photos", line)
                yield f"{line} --epochs 1" if re.match(TRAINS, line) else line


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the data sets that the pages name, small."""
    write_mnist(tmp_path / "data/mnist", rows=40, test_rows=20)
    write_cifar(tmp_path / "data/cifar10", "cifar10", "python.tar.gz", cifar_rows())
    write_folder(tmp_path / "data/imagenet", ["train/n01/1.png", "train/n02/2.png", "val/n01/3.png"], size=(260, 300))
    write_folder(tmp_path / "photos", [f"{name}/{n}.png" for name in ("cat", "dog") for n in range(6)], size=(240, 230))
    Image.new("L", (28, 28), 7).save(tmp_path / "digit.png")
    Image.new("RGB", (300, 280), 7).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.timeout(900)  # every command that there is, some of them training 16 branches
@pytest.mark.parametrize("page", [README, *GUIDE])
def test_every_block_of_a_page_runs_in_its_order(page: str, newcomer: Path) -> None:
    ran = list(lines(page))
    for line in [*BEFORE.get(page, []), *ran]:
        finished = run(line)
        assert finished.code == 0, f"{line}\n{finished.err}"
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), {})
    assert len(ran) + len(blocks(page, "python")) >= 2


def test_every_command_line_about_buckets_runs_in_its_order(bucket: Url) -> None:
    ran = [run(line.replace(BUCKET, str(bucket))) for line in lines("docs/buckets.md") if BUCKET in line]
    assert len(ran) == 3
    assert [finished.code for finished in ran] == [0] * 3, "\n".join(finished.err for finished in ran)
    assert re.search(r"^digits \(Q = 4\) ", ran[-1].out, re.MULTILINE)


def test_the_readme_is_a_lesson_and_leads_to_every_page() -> None:
    text = (ROOT / README).read_text()
    assert len(text.splitlines()) <= MOST_LINES
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    linked = set(re.findall(r"\]\((docs/[^)#]+\.md)", text))
    assert pages - linked <= {"docs/decoders.md"}, "a page that nobody finds"


@pytest.mark.parametrize("page", [README, *GUIDE])
def test_the_files_that_a_page_links_to_are_there(page: str) -> None:
    targets = re.findall(r"\]\(([^)#:]+)[#)]", (ROOT / page).read_text())
    assert targets
    for target in targets:
        assert ((ROOT / page).parent / target).exists(), target

"""Every block of code in the README and in the guide runs as it stands, on small sets that lie where the pages say."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from spectral_prep.console.commands import prep_group
from spectral_prep.places.url import Url
from spectral_train.commands import train_command
from spectral_train.ensemble_commands import ensemble_group
from tests.support.commands import COMMANDS, done, run
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
    "docs/conversion.md",
    "docs/runs.md",
)
ELSEWHERE = {
    "docs/buckets.md": "below",
    "docs/clusters.md": "tests/deploy",
    "docs/engines.md": "tests/prep/engines/test_ray_cluster.py, tests/train/training/test_branches_on_ray.py",
    "docs/imagenet.md": "tests/deploy/test_imagenet.py, tests/train/training/test_dry_run.py",
    "docs/results.md": "tests/workflow/test_results.py",
    "docs/terminal.md": "tests/workflow/test_terminal_page.py",
}
"""Pages with commands that no test can give as they stand (clusters, hours of training): what tests them instead."""

PAGES = (README, *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
BUCKET = "s3://bucket"
NODE = r"--data (spectral-\d\d) --run run (?=--fuse-inputs$)"
TRAINS = r"spectral-train (?!--list)|spectral-ensemble fuse "
MOST_LINES = 150
"""Of the README, which is a lesson."""

CONVERTED = "spectral-prep convert --dataset mnist --q 16"
TRAINED = "spectral-train --shard all --data spectral/mnist-q16 --model fc --set width=4 --set depth=2 --epochs 1"
BEFORE = {
    "docs/training.md": [CONVERTED],
    "docs/combine.md": [CONVERTED, TRAINED, f"{TRAINED} --seed 1 --run runs/poster"],
    "docs/python.md": [CONVERTED],
    "docs/runs.md": [
        "spectral-prep convert --dataset digits --q 4",
        "spectral-train --shard all --epochs 1 --run runs/a",
        "spectral-train --shard all --epochs 1 --run runs/b --lr 0.003",
    ],
}
"""What a reader of a page has run, small."""


def own_images_and_branches_of_nodes(here: Path) -> None:
    """Let photographs be of digits, and branches lie where other machines left them."""
    for name, digit in (("cat", "3"), ("dog", "7")):
        (here / "photos" / name).rename(here / "photos" / digit)
    (here / "archive/old").mkdir(parents=True)
    shutil.copy(here / "photo.jpg", here / "archive/old/1.jpg")
    shutil.copy(here / "photos/3/0.png", here / "photo.png")
    for place, number in (("node-0/run", 0), ("node-1/run", 1), ("bucket/run", 2), ("bucket/run", 3)):
        shutil.copytree(here / f"runs/a/branch-0{number}", here / place / f"branch-0{number}")


PREPARED: dict[str, Callable[[Path], object]] = {
    "docs/conversion.md": lambda here: (here / "wanted.txt").write_text("n01"),
    "docs/runs.md": own_images_and_branches_of_nodes,
}
"""What lies there besides."""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


def lines(page: str) -> Iterator[str]:
    """Yield the command lines, without comments; the download is left out, since a test has no network.

    Networks and heads are trained for one epoch. A machine of the README, and a bucket among other places, is a folder
    here: what rsync brings there is taken from where it lies.
    """
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            if line.partition(" ")[0] in COMMANDS:
                line = line.partition(" #")[0].replace(" --download", "").strip()
                line = re.sub(NODE, r"--data spectral/photos-q4/\1 --run runs/photos ", line)
                yield f"{line} --epochs 1" if re.match(TRAINS, line) else line


def indented(page: str) -> Iterator[str]:
    """Yield the command lines that a page shows in passing, beside a measurement, say: they stand indented."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE).replace("\\\n", " ")
    for line in re.findall(r"^    (?:\$ )?(\S.*)", text, re.MULTILINE):
        yield line.partition(" #")[0].strip()


def parse(line: str) -> None:
    """Let the program read a command line, and do nothing."""
    name, *arguments = shlex.split(line)
    group = {"spectral-prep": prep_group, "spectral-ensemble": ensemble_group}.get(name)
    command = train_command if group is None else group.commands[arguments.pop(0)]
    assert command.make_context(line, arguments).params


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
    ran = [line.replace(BUCKET, "bucket") for line in lines(page)]
    for line in BEFORE.get(page, []):
        done(line)
    if page in PREPARED:
        PREPARED[page](newcomer)
    for line in ran:
        done(line)
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), {})
    assert len(ran) + len(blocks(page, "python")) >= 2


def test_every_command_line_about_buckets_runs_in_its_order(bucket: Url) -> None:
    ran = [run(line.replace(BUCKET, str(bucket))) for line in lines("docs/buckets.md") if BUCKET in line]
    assert len(ran) == 3
    assert [finished.code for finished in ran] == [0] * 3, "\n".join(finished.err for finished in ran)
    assert re.search(r"^digits \(Q = 4\) ", ran[-1].out, re.MULTILINE)


def test_every_page_with_commands_is_run_here_or_elsewhere() -> None:
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    assert {page for page in pages if list(lines(page))} <= {*GUIDE, *ELSEWHERE}
    assert not {*GUIDE} & {*ELSEWHERE}


@pytest.mark.parametrize("page", [page for page in ELSEWHERE if page != "docs/results.md"])  # its own test does more
def test_the_program_takes_every_command_of_the_other_pages(page: str) -> None:
    for line in lines(page):
        parse(line)


def test_the_program_takes_every_command_that_a_page_only_shows() -> None:
    shown = [line for page in PAGES for line in indented(page) if line.partition(" ")[0] in COMMANDS]
    assert len(shown) >= 6
    for line in shown:
        parse(line)


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

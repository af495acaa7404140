"""Names from anywhere, through every command: bytes that are no UTF-8, control characters, markup, megabytes."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from spectral_prep.conversion.row_index import read_index
from spectral_prep.inspection.show import sheet
from spectral_prep.printable import LONGEST_NAME
from spectral_prep.sources.name_list import bytes_of
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.store.plan_record import Plan
from spectral_prep.store.record_file import read_record
from spectral_train.report.report import HTML, MARKDOWN
from tests.support.commands import Finished, run
from tests.support.releases import encoded, random_images, tar_bytes
from tests.support.runs import QUICK, make_run, rewrite_record
from tests.support.shards import make_shards

LATIN = os.fsdecode(b"caf\xe9")
BAD = os.fsdecode(b"\xff.png")
RED = "\x1b[31mred\x1b[0m"
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
TRAIN = "--epochs 1 --model fc --set width=8 --device cpu --workers 1"


def images(*classes: str, bad: str = BAD) -> dict[str, bytes]:
    """Return training and test images of some classes, by path, and a broken one in the first class."""
    pixels = iter(random_images(20 * len(classes), 8, 8, 3))
    files = {f"train/{name}/{number}.png": encoded(next(pixels)) for name in classes for number in range(12)}
    files |= {f"val/{name}/{number}.png": encoded(next(pixels)) for name in classes for number in range(4)}
    return {**files, f"train/{classes[0]}/{bad}": b"no image"}


def write(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def plainly(done: Finished, code: int = 0) -> Finished:
    """Return what a command said, after looking for anything in it that a terminal would obey."""
    assert done.code == code, done.err
    assert not CONTROL.search(done.out + done.err)
    assert "Traceback" not in done.err
    return done


def unicode_everywhere(root: Path) -> None:
    for path in root.rglob("*"):
        if path.suffix in (".json", ".jsonl", ".md", ".html"):
            text = path.read_bytes().decode()  # strictly
            assert not re.search(r"\\ud[89a-f]", text), path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_names_that_are_no_utf8_from_a_folder(here: Path) -> None:
    write(here / "set", images(LATIN, "b\\c", "plain"))
    convert = "spectral-prep convert --dataset folder --source set --q 4 --out out --workers 1"
    failed = plainly(run(convert), 1)
    assert r"    train: caf\xe9/\xff.png" in failed.err
    assert "1 image cannot be converted" in failed.err
    assert (here / "out/bad-images.txt").read_text().startswith(r"train: caf\xe9/\xff.png: not an image")
    for _ in range(2):  # a rerun is no other
        plainly(run(f"{convert} --on-error skip"))
    plan = read_record(DatasetPaths(here / "out").plan, Plan)
    assert plan.classes == (r"b\\c", r"caf\xe9", "plain")
    names = [name for name, _ in read_index(DatasetPaths(here / "out"), plan, "train")]
    assert r"caf\xe9/\xff.png" in names
    assert {bytes_of(name) for name in names} >= {b"caf\xe9/\xff.png", b"caf\xe9/0.png", b"b\\c/11.png"}
    assert "36 images" not in plainly(run("spectral-prep verify out --source set --deep")).err
    plainly(run("spectral-prep show out --row 3 --source set"))
    plainly(run("spectral-prep info out"))
    plainly(run(f"spectral-train --shard all --data out --run run {TRAIN}"))
    plainly(run("spectral-ensemble evaluate run"))
    shutil.copy(here / "set/train/plain/0.png", here / BAD)
    predicted = plainly(run("spectral-ensemble predict run set/train/plain/0.png"))
    assert r"caf\xe9" in predicted.out
    plainly(run("spectral-ensemble report run"))
    unicode_everywhere(here / "out")
    unicode_everywhere(here / "run")


def test_names_that_are_no_utf8_from_a_tar(here: Path) -> None:
    files = {name.removeprefix("train/"): each for name, each in images(LATIN, "plain").items() if name[0] == "t"}
    (here / "set").mkdir()
    (here / "set/fall11_whole.tar").write_bytes(tar_bytes(files))
    convert = "spectral-prep convert --dataset imagenet21k --source set --q 4 --size 8 --resize 8 --out out --workers 1"
    assert r"caf\xe9/\xff.png" in plainly(run(convert), 1).err
    plainly(run(f"{convert} --on-error skip"))
    plan = read_record(DatasetPaths(here / "out").plan, Plan)
    assert plan.classes == (r"caf\xe9", "plain")
    plainly(run("spectral-prep verify out --source set --deep"))
    plainly(run(f"spectral-train --shard all --data out --run run {TRAIN}"))
    unicode_everywhere(here / "out")


def test_a_folder_and_a_tar_of_the_same_names_are_one_source(here: Path) -> None:
    files = {name: each for name, each in images(LATIN, "n\\1").items() if name.startswith("train/")}
    write(here / "set", files)
    whole = {name.removeprefix("train/"): each for name, each in files.items()}
    (here / "fall11_whole.tar").write_bytes(tar_bytes(whole))
    plans = []
    for number, source in enumerate(("set", "fall11_whole.tar")):
        convert = f"spectral-prep convert --dataset imagenet21k --source {source} --q 4 --size 8 --resize 8"
        plainly(run(f"{convert} --out out{number} --on-error skip --workers 1"))
        plans.append(read_record(DatasetPaths(here / f"out{number}").plan, Plan))
    assert plans[0].fingerprint == plans[1].fingerprint


def test_control_characters_do_nothing(here: Path) -> None:
    odd = "a\n\u202egnp\u2028\x9b2J.png"
    write(here / "set", images(RED, "<script>alert(1)</script>".replace("/", "∕"), "$\\frac{$", bad=odd))
    convert = "spectral-prep convert --dataset folder --source set --q 4 --out out --workers 1"
    failed = plainly(run(convert), 1)
    assert r"\x1b[31mred\x1b[0m/a\x0a\u202egnp\u2028\x9b2J.png" in failed.err
    assert not CONTROL.search((here / "out/bad-images.txt").read_text())
    done = plainly(run(f"{convert} --on-error skip"))
    assert r"    train: \x1b[31mred\x1b[0m/a\x0a\u202e" in done.err
    card = (here / "out/README.md").read_text()
    assert not CONTROL.search(card)
    assert "<script>" not in card
    plainly(run("spectral-prep info out"))
    row = next(row for row in range(36) if RED in sheet(here / "out", row).name)
    assert "red" in plainly(run(f"spectral-prep show out --row {row}")).out
    plainly(run(f"spectral-train --shard all --data out --run run {TRAIN}"))
    plainly(run("spectral-ensemble evaluate run"))
    told = plainly(run("spectral-ensemble predict run set/val/*/0.png".replace("*", "'" + RED + "'")))
    assert r"\x1b[31mred\x1b[0m" in told.out
    exact = run(f"spectral-ensemble predict run --json 'set/val/{RED}/0.png'")
    assert RED in json.loads(exact.out)["classes"]
    (here / odd).write_bytes(b"no image")
    bad = plainly(run(f"spectral-ensemble predict run '{odd}'"), 1)
    assert r"Error: a\x0a\u202egnp\u2028\x9b2J.png: not an image" in bad.err
    assert r"a\x0a\u202e" in plainly(run(f"spectral-ensemble predict run 'gone/{odd}'"), 2).err
    plainly(run("spectral-ensemble report run"))
    for name in (MARKDOWN, HTML):
        text = (here / "run/report" / name).read_text()
        assert not CONTROL.search(text)
        assert "<script" not in text


def test_names_in_a_run_of_somebody_else(here: Path) -> None:
    names = (RED + "x" * (2 << 20), "![](http://evil/a.png)[b](javascript:c)`<i>`", "<script>alert(1)</script>")
    device = "[d](http://evil)<b>"
    make_run(make_shards(here / "data"), here / "run", replace(QUICK, epochs=1, lr=1e-6))  # all rows are mistaken
    for shard in range(4):
        rewrite_record(
            here / "run",
            shard,
            lambda record: replace(record, device=device, plan=replace(record.plan, classes=names)),
        )
    evaluated = plainly(run("spectral-ensemble evaluate run"))
    (here / "1.png").write_bytes(encoded(random_images(1, 8, 8)[0]))
    told = plainly(run("spectral-ensemble predict run 1.png"))
    assert r"\x1b[31mred\x1b[0mxxx" in told.out
    assert len(told.out) < 4 * LONGEST_NAME
    assert len(evaluated.out) < 10_000
    plainly(run("spectral-ensemble report run"))
    page = (here / "run/report" / HTML).read_text()
    assert len(page) < 1 << 20
    assert "<script" not in page
    assert "evil" not in re.sub(r">[^<]*<", "><", page)  # in no tag
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert device in html.unescape(page)
    assert "![](http://evil/a.png)[b](javascript:c)`<i>`" in html.unescape(page)


@pytest.mark.parametrize(
    "command",
    [
        "spectral-prep convert --dataset digits --q 4 --layout '{}'",
        "spectral-prep convert --dataset digits --q 4 '{}'",
        "spectral-prep convert --dataset digits --q 4 --workers '{}'",
        "spectral-prep '{}'",
        "spectral-prep info --'{}'",
        "spectral-prep show set --row '{}'",
        "spectral-train --shard 0 --device '{}'",
        "spectral-ensemble evaluate run '{}'",
        "spectral-ensemble evaluate run --without '{}'",
    ],
)
def test_arguments_that_click_refuses_do_nothing(here: Path, command: str) -> None:
    """click's own messages are escaped as the others are."""
    done = plainly(run(command.format(f"{RED}\x9b2J\u202e")), 2)
    assert r"\x1b[31mred\x1b[0m\x9b2J\u202e" in done.err
    if "convert" in command:
        assert done.err.startswith("Usage: ")
    assert "Error: " in done.err

"""A short selection of `python -m tests.torture.fuzz`, and what it has found: one change behind right checksums."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from spectral_prep.choices import Format
from spectral_prep.conversion.finalize import finalize
from spectral_prep.errors import SpectralError
from spectral_prep.inspection.info import info
from spectral_prep.inspection.show import sheet
from spectral_prep.inspection.verify import verify
from spectral_prep.store.record_file import read_content, write_content
from spectral_train.data.loader import LoaderOptions, ShardLoader
from spectral_train.data.shard import check_files, open_shard
from tests.torture.changes import reseal

CASES = 6
EDIT = Callable[[bytes], bytes]

FOUND: dict[str, tuple[Format, str, EDIT]] = {
    "a label that is a dictionary": ("zarr", "rows/train.jsonl", lambda text: text.replace(b" 0]", b" {}]", 1)),
    "a label that is nested": ("zarr", "rows/train.jsonl", lambda text: text.replace(b" 0]", b" [[[0]]]]", 1)),
    "a line of three": ("zarr", "rows/train.jsonl", lambda text: text.replace(b" 0]", b" 0, 0]", 1)),
    "a cut index": ("zarr", "rows/train.jsonl", lambda text: text[:1]),
    "an index in Latin-1": ("zarr", "rows/train.jsonl", lambda text: b"\xff" + text),
    "an empty index": ("zarr", "rows/test.jsonl", lambda text: b""),
    "a label beyond the classes": ("zarr", "rows/train.jsonl", lambda text: text.replace(b" 0]", b" 10]", 1)),
    "another shape of the ids": (
        "zarr",
        "spectral-00/test/id/zarr.json",
        lambda text: text.replace(b'"shape": [\n    359\n  ]', b'"shape": null'),
    ),
    "a codec of another name": (
        "zarr",
        "spectral-00/test/x/zarr.json",
        lambda text: text.replace(b"sharding_indexed", b"1"),
    ),
    "an index of a part that is not its own": (
        "zarr",
        "spectral-00/test/x/c/0/0/0/0",
        lambda content: content[:-20] + bytes(16) + content[-4:],
    ),
    "cut ids": ("webdataset", "spectral-00/test-id.npy", lambda content: content[:54]),
    "an empty tar": ("webdataset", "spectral-00/test-00000.tar", lambda content: b""),
}


def load(root: Path) -> None:
    shard = open_shard(root, 0)
    check_files(shard.folders[0])
    for split in ("train", "test"):
        for _ in ShardLoader(shard, 64, options=LoaderOptions(split=split)):
            pass


READERS: dict[str, Callable[[Path], object]] = {
    "verify": lambda root: verify(root, deep=True),
    "verify one": lambda root: verify(root / "spectral-00", deep=True),
    "info": info,
    "show": lambda root: [sheet(root, row, split) for split in ("train", "test") for row in (0, 7)],
    "load": load,
    "finalize": finalize,
}


@pytest.mark.parametrize("name", FOUND)
def test_what_fuzzing_found_stays_mended(digits_as: Callable[[Format], Path], name: str) -> None:
    format, path, edit = FOUND[name]
    root = digits_as(format)
    before = (root / path).read_bytes()
    (root / path).write_bytes(edit(before))
    assert (root / path).read_bytes() != before
    reseal(root)
    for read in READERS.values():
        with contextlib.suppress(SpectralError):
            read(root)


@pytest.mark.parametrize("reader", READERS)
def test_rows_that_nothing_has_take_no_memory_and_no_time(digits: Path, reader: str) -> None:
    """Two thousand million rows, said by plan, block and spectral records alike."""
    for pattern, kind in (("plan.json", "plan"), ("blocks/00000.json", "block"), ("*/spectral.json", "spectral")):
        for path in digits.glob(pattern):
            content = read_content(path, kind)
            if kind == "block":
                content.update(stop=2**31 - 2, count=(2**31 - 2) * 16)
            else:
                content["splits"]["train"].update(rows=2**31 - 2, block_rows=2**31 - 2)
            if kind == "plan":
                content["splits"]["train"]["chunk_rows"] = 2**31 - 2
            write_content(path, kind, content)
    reseal(digits)
    with contextlib.suppress(SpectralError):
        READERS[reader](digits)


def test_a_selection_ends_in_words(python: str) -> None:
    command = [python, "-m", "tests.torture.fuzz", "--cases", str(CASES), "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"| all | {CASES} |" in done.stdout

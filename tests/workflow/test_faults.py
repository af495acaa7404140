"""A short selection of `python -m tests.torture`: file calls that fail, power cuts, kills and damage."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from tests.torture.bench import Bench
from tests.torture.damage import damage_cases
from tests.torture.faults import Case, fault_cases
from tests.torture.kills import kill_cases
from tests.torture.outcome import Table, tree
from tests.torture.power import Disk, Event, power_cases
from tests.torture.scenarios import SCENARIOS, Materials
from tests.torture.shim import Control, Mode, compile_shim

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="the failing disk is compiled by cc")

CHOSEN = [each for each in SCENARIOS if each.name in ("convert zarr, two workers", "finalize webdataset", "train")]
SOUP = [each for each in SCENARIOS if each.name == "soup"]
EVERY = 97
"""An even choice of the calls of each command."""


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(tmp_path_factory.mktemp("bench")) as started:
        yield started


@pytest.fixture(scope="session")
def materials(bench: Bench) -> Materials:
    return Materials(bench, bench.folder / "materials")


def all_well(bench: Bench, cases: Iterator[Case]) -> None:
    table = Table()
    for case in cases:
        table.add(case(bench))
    assert table.cases.total(), "no case was tried"
    assert not table.kinds, "\n".join(table.lines())


def test_a_command_whose_file_call_fails_ends_in_words_and_heals(bench: Bench, materials: Materials) -> None:
    all_well(bench, islice(fault_cases(materials, CHOSEN, 0, EVERY), 10))


def test_what_is_complete_is_on_the_disk_and_a_power_cut_heals(bench: Bench, materials: Materials) -> None:
    all_well(bench, islice(power_cases(bench, materials, CHOSEN, 0, EVERY), 10))


def test_killed_commands_heal(bench: Bench, materials: Materials) -> None:
    all_well(bench, islice(kill_cases(materials, [*CHOSEN, *SOUP], 0), 4))


def test_a_damaged_file_is_named(bench: Bench, materials: Materials) -> None:
    all_well(bench, islice(damage_cases(materials, 0), 6))


WRITER = """
import os
file = os.open("file", os.O_WRONLY | os.O_CREAT)
for _ in range(3):
    print(os.write(file, b"1234"))
os.mkdir("folder")
"""


def on_failing_disk(library: Path, control: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `WRITER`, five counted calls, with the shim."""
    environment = {**os.environ, "LD_PRELOAD": str(library), "FAULT_CONTROL": str(control)}
    command = [sys.executable, "-c", WRITER]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)


def test_the_disk_fails_the_very_call_that_it_is_told_to(tmp_path: Path) -> None:
    library, disk, folder = compile_shim(tmp_path), Control(tmp_path / "control"), tmp_path / "mine"
    folder.mkdir()
    disk.count(folder)
    assert on_failing_disk(library, tmp_path / "control", folder).returncode == 0
    assert disk.calls == 5
    expected = {  # what the program printed before it ended, and which call that was
        (2, Mode.ONCE): ("", "write"),
        (3, Mode.HALF): ("4\n2\n", "write"),
        (5, Mode.EVER): ("4\n4\n4\n", "mkdir"),
        (1, Mode.ONCE): ("", "open"),
    }
    for (at, mode), (printed, call) in expected.items():
        shutil.rmtree(folder)
        folder.mkdir()
        disk.fail(folder, at, errno.EDQUOT, mode)
        ended = on_failing_disk(library, tmp_path / "control", folder)
        assert ended.stdout == printed
        assert f"[Errno {errno.EDQUOT}]" in ended.stderr
        assert disk.hit.split()[0] == call
    disk.fail(tmp_path / "elsewhere", 1, errno.EIO, Mode.EVER)
    assert on_failing_disk(library, tmp_path / "control", folder).returncode == 0


@pytest.mark.parametrize(
    ("events", "durable"),
    [
        ("open a, fsync a", {}),
        ("open a, fsync-folder", {"a": b""}),
        ("open a, fsync a, fsync-folder", {"a": b"synced"}),
        ("open a, fsync a, fsync-folder, rename a b", {"a": b"synced"}),
        ("open a, fsync a, fsync-folder, rename a b, fsync-folder", {"b": b"synced"}),
        ("open a, fsync-folder, unlink a", {"a": b""}),
        ("open a, fsync-folder, unlink a, fsync-folder", {}),
        ("mkdir f, open f/a, fsync f/a, fsync-folder f", {}),
        ("mkdir f, fsync-folder, open f/a, fsync f/a", {"f/": b""}),
        ("mkdir f, fsync-folder, open f/a, fsync f/a, fsync-folder f", {"f/": b"", "f/a": b"synced"}),
    ],
)
def test_a_strict_disk_keeps_what_was_synced_and_nothing_else(
    tmp_path: Path, events: str, durable: dict[str, bytes]
) -> None:
    (tmp_path / "before").mkdir()
    disk = Disk(tmp_path / "before", names_at_once=False)
    for event in events.split(", "):
        call, *names = event.split()
        path, other = (str(tmp_path / "before" / name) for name in [*names, "", ""][:2])
        disk.happens(Event(call, path, other, b"synced"))
    (tmp_path / "after").mkdir()
    disk.write(tmp_path / "after")
    assert tree(tmp_path / "after") == durable

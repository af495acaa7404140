"""A short selection of `python -m tests.torture`: file calls that fail, power cuts, kills and damage."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import islice

import pytest

from tests.torture.bench import Bench
from tests.torture.damage import damage_cases
from tests.torture.faults import Case, fault_cases
from tests.torture.kills import kill_cases
from tests.torture.outcome import Table
from tests.torture.power import power_cases
from tests.torture.scenarios import SCENARIOS, Materials

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

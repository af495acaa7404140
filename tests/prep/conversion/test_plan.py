"""The plan decides everything before the first image is converted, and says so."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spectral_prep.conversion.convert import begin, convert
from spectral_prep.conversion.plan import make_plan
from spectral_prep.conversion.request import Request
from spectral_prep.errors import InputError, PlanMismatchError
from spectral_prep.inspection.info import info
from spectral_prep.inspection.verify import verify
from spectral_prep.sources import open_source
from spectral_prep.sources.arrays import ArraySource
from spectral_prep.store.block_groups import block_groups
from spectral_prep.store.plan_record import Plan
from spectral_prep.store.record_file import read_record
from tests.support.trees import tree


def test_what_can_only_be_read_in_one_order_is_not_shuffled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ArraySource, "random_access", property(lambda self: False))
    with pytest.raises(InputError, match=r"one after the other.*--shuffle none"):
        convert(Request("digits", "4"), Path(), tmp_path / "out")
    assert info(convert(Request("digits", "4", shuffle="none"), Path(), tmp_path / "out").root).complete


@pytest.mark.parametrize(
    ("described", "blocks", "rows_each"),
    [
        ("rows=12050,size=224x224", 63, 192),  # small: as many blocks as keep workers busy
        ("rows=3000,size=224x224", 24, 128),  # smaller: fewer, since files have to hold something
        ("rows=60000,size=28x28,channels=1", 15, 4096),
        ("rows=1281167,size=224x224", 715, 1792),  # ImageNet-1K: parts of 32 MiB
        ("rows=14000000,size=28x28,channels=1", 1709, 8192),
        ("rows=14000000,size=224x224", 1794, 7808),  # no folder has many more files than that
    ],
)
def test_blocks_are_many_but_hold_something(described: str, blocks: int, rows_each: int, tmp_path: Path) -> None:
    source = open_source("synthetic", Path(f"{described},test=0"), tmp_path)
    request = Request("synthetic", "16", dtype="float16")
    plan = make_plan(source, source.index(), dict.fromkeys(("train", "test"), "0" * 64), request)
    assert (len(plan.blocks), plan.splits["train"].block_rows) == (blocks, rows_each)


@pytest.mark.parametrize(
    ("described", "decoded", "units"),
    [
        ("rows=1281167,size=224x224", 1.01, 328),
        ("rows=100000,size=64x64", 1.1, 59),
        ("rows=10000,size=224x224", 1.14, 64),
        ("rows=600,size=224x224", 1.0, 6),
        ("rows=90,size=32x32", 1.0, 1),
        ("rows=1,size=32x32", 1.0, 1),
    ],
)
def test_blocks_of_views_hold_nearly_the_same_images(
    described: str, decoded: float, units: int, tmp_path: Path
) -> None:
    source = open_source("synthetic", Path(f"{described},test=0"), tmp_path)
    request = Request("synthetic", "16", dtype="float16", views=4)
    plan = make_plan(source, source.index(), dict.fromkeys(("train", "test"), "0" * 64), request)
    groups = block_groups(plan)
    assert 1 <= sum(len(group.places) for group in groups) / plan.splits["train"].images < decoded + 0.005
    assert units <= len(groups) <= len(plan.blocks) / 5 <= 1800 / 5


def test_a_plan_of_views_gives_itself_again(tmp_path: Path) -> None:
    """As it does where a conversion goes on: with the rows a block that were chosen before."""
    for described in ("rows=10000,size=224x224", "rows=50000,size=32x32", "rows=600,size=224x224"):
        source = open_source("synthetic", Path(f"{described},test=30"), tmp_path)
        index = source.index()
        request = Request("synthetic", "16", dtype="float16", views=4)
        plan = make_plan(source, index, dict.fromkeys(index, "0" * 64), request)
        assert make_plan(source, index, dict.fromkeys(index, "0" * 64), request, fixed=plan) == plan
        asked = replace(request, block_rows=plan.splits["train"].block_rows)
        found = make_plan(source, index, dict.fromkeys(index, "0" * 64), asked)
        assert found.splits["train"] == plan.splits["train"]


def test_a_data_set_keeps_the_decibels_that_were_asked_for(digits: Path, tmp_path: Path) -> None:
    request = Request("digits", "4", psnr=40.0, block_rows=300)
    paths = convert(request, Path(), tmp_path / "coarse")
    found = verify(paths.root, lambda plan: open_source("digits", Path(), tmp_path))
    assert found.pixels is not None
    assert found.pixels.psnr is not None
    assert 40 <= found.pixels.psnr < 42  # more, where black pixels are not made darker
    assert info(paths.root).psnr == 40
    assert info(paths.root).bytes < info(digits).bytes
    before = tree(paths.root)
    convert(request, Path(), paths.root)
    assert tree(paths.root) == before
    with pytest.raises(PlanMismatchError, match=r"psnr"):
        convert(replace(request, psnr=38.0), Path(), paths.root)


@pytest.mark.parametrize("options", [{"psnr": -1.0}, {"psnr": math.nan}, {"psnr": 40.0, "dtype": "float16"}])
def test_decibels_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="--psnr"):
        Request("digits", "4", **options)


def test_a_conversion_that_was_begun_keeps_its_blocks(tmp_path: Path) -> None:
    paths = begin(Request("digits", "4", block_rows=300), Path(), tmp_path / "out")
    before = paths.plan.read_bytes()
    convert(Request("digits", "4"), Path(), paths.root)
    assert paths.plan.read_bytes() == before
    assert read_record(paths.plan, Plan).splits["train"].block_rows == 300

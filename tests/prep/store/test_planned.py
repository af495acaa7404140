"""A record that is whole and sealed is refused all the same where it is not the plan's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spectral_prep.conversion.finished import finished_blocks
from spectral_prep.errors import CorruptFileError
from spectral_prep.inspection.verify import verify
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.store.plan_record import Plan
from spectral_prep.store.planned import read_block, read_spectral
from spectral_prep.store.record_file import read_content, read_record, write_content
from tests.torture.changes import reseal

Change = Callable[[dict[str, Any]], object]

BLOCKS: dict[str, Change] = {
    "number": lambda block: block.update(number=1),
    "split": lambda block: block.update(split="test"),
    "start": lambda block: block.update(start=1),
    "stop": lambda block: block.update(stop=2**30),
    "count": lambda block: block.update(count=7),
    "files": lambda block: block["files"].pop(),
    "files of another folder": lambda block: block["files"][0].update(path="README.md"),
    "sums": lambda block: block.update(
        sum=block["sum"][:2], sum_of_squares=block["sum_of_squares"][:2], saturated=block["saturated"][:2]
    ),
    "ids of bad rows": lambda block: block.update(
        bad=[{"id": 10**9, "name": "a", "reason": "b"}], count=block["count"] - 16
    ),
}

SPECTRALS: dict[str, Change] = {
    "k": lambda record: record.update(k=3),
    "dataset": lambda record: record.update(dataset="mnist"),
    "classes": lambda record: record["classes"].pop(),
    "classes, huge": lambda record: record.update(classes=["x" * 10**6]),
    "store": lambda record: record.update(store="webdataset"),
    "resize": lambda record: record.update(resize=10),
    "splits.train.rows": lambda record: record["splits"]["train"].update(rows=2**31 - 1, block_rows=2**20),
    "splits.test": lambda record: record["splits"].pop("test"),
    "encoding.dtype": lambda record: record.update(encoding={"dtype": "float16", "scale_factor": [], "add_offset": []}),
}


def write_changed(path: Path, kind: str, change: Change) -> None:
    content = read_content(path, kind)
    change(content)
    write_content(path, kind, content)


@pytest.mark.parametrize("change", BLOCKS.values(), ids=list(BLOCKS))
def test_a_record_of_another_block_is_none_of_the_plan(digits: Path, change: Change) -> None:
    paths = DatasetPaths(digits)
    plan = read_record(paths.plan, Plan)
    assert read_block(paths, plan, plan.blocks[0]).number == 0
    write_changed(paths.block(0), "block", change)
    with pytest.raises(CorruptFileError, match=r"the record is not that of block 0 .*00000\.json"):
        read_block(paths, plan, plan.blocks[0])
    assert [record.number for record in finished_blocks(paths, plan)] == list(range(1, len(plan.blocks)))
    reseal(digits)
    with pytest.raises(CorruptFileError, match="the record is not that of block 0"):
        verify(digits)


@pytest.mark.parametrize("change", SPECTRALS.values(), ids=list(SPECTRALS))
def test_a_record_of_another_spectral_is_none_of_the_plan(digits: Path, change: Change) -> None:
    paths = DatasetPaths(digits)
    plan = read_record(paths.plan, Plan)
    assert read_spectral(paths, plan, 2).k == 2
    write_changed(paths.spectral(2).record, "spectral", change)
    with pytest.raises(CorruptFileError, match=r"the record is not that of spectral 2 .*spectral\.json") as refused:
        read_spectral(paths, plan, 2)
    assert len(str(refused.value)) < 2000
    reseal(digits)
    assert "the record is not that of spectral 2" in str(verify(digits).faults)

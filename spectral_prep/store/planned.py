"""The records of a data set held against its plan: a record may be whole and yet be that of another block or folder.

Input: the plan, which block or which spectral. Output: its record, whose every field that follows from the plan is the
plan's: what is made of the record then fits what is made of the plan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from spectral_prep.errors import CorruptFileError
from spectral_prep.places.url import Place, below
from spectral_prep.store.layout import DatasetPaths
from spectral_prep.store.plan_record import Block, Plan
from spectral_prep.store.record_file import plain, read_record
from spectral_prep.store.records import BlockRecord, SpectralRecord, SplitInfo
from spectral_prep.system.differences import differences

MOST_TOLD = 5
"""Differences that a message lists."""


def part_paths(paths: DatasetPaths, plan: Plan, block: Block) -> list[Place]:
    """Return the Q part files of a block."""
    index = block.start // plan.splits[block.split].block_rows
    return [paths.spectral(k).part(block.split, index, plan.store) for k in range(plan.spec.q)]


def read_block(paths: DatasetPaths, plan: Plan, block: Block) -> BlockRecord:
    """Return the record of a block.

    Raises
    ------
    InputError
        If there is none.
    CorruptFileError
        If it is damaged, or not the one of this block of this plan.
    """
    path = paths.block(block.number)
    record = read_record(path, BlockRecord)
    q, channels = plan.spec.q, plan.geometry.channels
    good = block.stop - block.start - len(record.bad)
    expected = {
        **vars(block),
        "files": sorted(below(paths.root, part) for part in part_paths(paths, plan, block)),
        "count": good * math.prod(plan.spectral_shape[1:]),
        "sums": (q, channels),
        "ids of bad rows": True,
    }
    found = {
        **{name: getattr(record, name) for name in (*vars(block), "count")},
        "files": sorted(entry.path for entry in record.files),
        "sums": (len(record.sum), len(record.sum[0])),
        "ids of bad rows": all(row.id < plan.splits[block.split].images for row in record.bad),
    }
    _require_equal(found, expected, f"the record is not that of {block}", path)
    return record


def read_spectral(paths: DatasetPaths, plan: Plan, k: int) -> SpectralRecord:
    """Return the record of spectral k; raises as `read_block` does."""
    path = paths.spectral(k).record
    record = read_record(path, SpectralRecord)
    planned = {name: SplitInfo(each.rows, each.block_rows, 0, each.views) for name, each in plan.splits.items()}
    present = {name: replace(each, bad_rows=0) for name, each in record.splits.items()}
    expected = {
        "k": k,
        "dataset": plan.title,
        **{name: _plain(plan, name) for name in ("spec", "encoding", "store", "classes")},
        **{name: getattr(plan.geometry, name) for name in ("height", "width", "channels", "resize")},
        "max_pixels": record.max_pixels and plan.geometry.chosen_max_pixels,
        "splits": _plain_splits(planned),
    }
    found = {name: _plain(record, name) for name in expected} | {"splits": _plain_splits(present)}
    _require_equal(found, expected, f"the record is not that of spectral {k} of the plan", path)
    return record


def _plain_splits(splits: Mapping[str, SplitInfo]) -> dict[str, Any]:
    return {name: plain(each) for name, each in splits.items()}


def _plain(record: Plan | SpectralRecord, field: str) -> Any:
    return plain(record)[field] if field in ("spec", "encoding") else getattr(record, field)


def _require_equal(found: Mapping[str, Any], expected: Mapping[str, Any], what: str, where: Place) -> None:
    if unlike := differences(expected, found, names=("in the plan", "in the record")):
        got = "; ".join(line if len(line) <= 200 else f"{line[:200]}…" for line in unlike[:MOST_TOLD])
        raise CorruptFileError(what, where=where, got=got)

"""Blocks that hold views of the same images are one unit of work, and every block is in one."""

from __future__ import annotations

import numpy as np
import pytest

from spectral_prep.encoding import Encoding
from spectral_prep.grid import SpectralSpec
from spectral_prep.images.load import Geometry
from spectral_prep.store.block_groups import MOST_OPEN_FILES, block_groups, chunk_bytes
from spectral_prep.store.plan_record import Plan, SplitPlan


def plan_of(images: int, views: int, block_rows: int, q: int = 4, test: int = 7) -> Plan:
    """Return the plan of so many images of 16 × 16 pixels, and some test images."""
    splits = {
        "train": SplitPlan(images * views, block_rows, block_rows, "", views),
        "test": SplitPlan(test, block_rows, block_rows, ""),
    }
    spec, encoding = SpectralSpec(1, q), Encoding("float16")
    return Plan("folder", "", ("a",), Geometry(16, q, 3), spec, encoding, "zarr", "zstd", 0, "none", splits)


RANDOM = np.random.default_rng(0)
SOME = [tuple(int(RANDOM.integers(1, most)) for most in (60, 8, 60)) for _ in range(60)]


def test_every_block_is_in_one_group_and_each_of_its_rows_is_a_view_of_its_image() -> None:
    for images, views, block_rows in SOME:
        plan = plan_of(images, views, block_rows)
        groups = block_groups(plan)
        assert [group.number for group in groups] == list(range(len(groups)))
        assert sorted(block.number for group in groups for block in group.blocks) == list(range(len(plan.blocks)))
        for group in groups:
            for block, span in zip(group.blocks, group.spans, strict=True):
                seen = group.places[span.start : span.stop] % group.images
                assert seen.tolist() == [row % group.images for row in range(block.start, block.stop)]
            rows = [row % group.images for block in group.blocks for row in range(block.start, block.stop)]
            assert [rows[row] for row in group.rows_of_places] == (group.places % group.images).tolist()


def test_a_group_has_few_images_and_where_blocks_divide_them_each_is_in_one() -> None:
    for images, views, block_rows in SOME:
        groups = [group for group in block_groups(plan_of(images, views, block_rows)) if group.split == "train"]
        if block_rows <= images:
            assert max(len(group.places) for group in groups) <= 2 * block_rows
            assert sum(len(group.places) for group in groups) < 2 * images + block_rows
        if images % block_rows == 0:
            assert {len(group.blocks) for group in groups} == {views}
            assert sum(len(group.places) for group in groups) == images


def test_without_views_each_block_is_a_group() -> None:
    plan = plan_of(50, 1, 8)
    assert [group.blocks for group in block_groups(plan)] == [(block,) for block in plan.blocks]
    assert str(block_groups(plan)[1]) == "block 1 (train rows 8 to 15)"


def test_what_is_done_is_left_out_with_its_images() -> None:
    group = block_groups(plan_of(10, 2, 4))[0]
    assert str(group) == "blocks 0, 3 (train, views of the same images)"
    left = group.without({0})
    assert left is not None
    assert (left.number, left.rows, (left.places % 10).tolist()) == (0, 4, [2, 3, 4, 5])
    assert group.without({0, 3, 9}) is None


@pytest.mark.parametrize(("q", "most"), [(16, 12), (128, 4), (256, 2)])
def test_no_worker_writes_more_files_at_once_than_a_process_may_open(q: int, most: int) -> None:
    groups = block_groups(plan_of(24, 12, 8, q))
    assert max(len(group.blocks) for group in groups) == most
    assert most * q <= MOST_OPEN_FILES


def test_no_worker_fills_more_chunks_at_once_than_memory_is_good_for(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(24, 12, 8)
    monkeypatch.setattr("spectral_prep.store.block_groups.MOST_CHUNK_BYTES", 5 * chunk_bytes(plan, "train"))
    assert max(len(group.blocks) for group in block_groups(plan)) == 5

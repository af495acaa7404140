"""What a worker is said to hold grows with what it holds: blocks that it writes at once, and parts for a bucket."""

from __future__ import annotations

from pathlib import Path

from spectral_prep.conversion.memory import MIB, memory_of
from spectral_prep.places.interface import IN_MEMORY_BYTES
from spectral_prep.places.url import Url
from spectral_prep.store.block_groups import chunk_bytes
from tests.prep.store.test_block_groups import plan_of

DISK, BUCKET = Path("out"), Url("s3", "bucket", "out")


def test_each_block_that_is_written_at_once_counts_with_its_chunk() -> None:
    one, five = (memory_of(plan_of(64000, views, 32000), DISK).worker for views in (1, 5))
    chunk = chunk_bytes(plan_of(64000, 5, 32000), "train")
    assert chunk > MIB
    assert 4 * chunk <= five - one <= 4 * chunk + 32 * MIB  # and a batch of pixels each


def test_parts_that_go_into_a_bucket_count_with_what_is_not_in_scratch_files() -> None:
    for views in (1, 5):
        plan = plan_of(64, views, 32, q=16)
        more = memory_of(plan, BUCKET).worker - memory_of(plan, DISK).worker
        assert more == views * 16 * IN_MEMORY_BYTES

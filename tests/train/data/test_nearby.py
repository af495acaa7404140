from __future__ import annotations

from pathlib import Path

import pytest
import torch

from spectral_prep.conversion.convert import convert
from spectral_prep.conversion.request import Request
from spectral_prep.places.cache import Cache
from spectral_prep.places.url import Url
from spectral_train.data.grouping import ShardChoice
from spectral_train.data.loader import LoaderOptions, ShardLoader
from spectral_train.data.nearby import nearby
from spectral_train.data.pieces import PieceReader
from spectral_train.data.shard import Shard, open_shard
from tests.support.buckets import Server


@pytest.fixture
def shard(bucket: Url) -> Shard:
    data = convert(Request("digits", "4", block_rows=300), Path(), bucket / "digits-q4").root
    return open_shard(data, 1, ShardChoice(shards=2))


def test_a_shard_in_a_bucket_becomes_one_on_this_machine(shard: Shard, tmp_path: Path) -> None:
    near = nearby(shard, Cache(tmp_path))
    assert all(isinstance(folder.paths.root, Path) for folder in near.folders)
    assert near.identity == shard.identity
    assert nearby(near, Cache(tmp_path)) == near


def test_without_a_cache_it_is_read_where_it_is(shard: Shard) -> None:
    assert nearby(shard, None) is shard


def test_cached_streamed_and_resident_rows_are_the_same(shard: Shard, tmp_path: Path) -> None:
    def rows(each: Shard, memory: int | None) -> torch.Tensor:
        options = LoaderOptions(memory=memory, shuffle=False)
        return torch.cat([x for x, _ in ShardLoader(each, 100, options=options)])

    expected = rows(nearby(shard, Cache(tmp_path)), None)
    assert torch.equal(rows(shard, None), expected)
    assert torch.equal(rows(shard, 40_000), expected)


def test_streaming_from_a_bucket_asks_once_for_each_piece(shard: Shard, bucket: Url, bucket_server: Server) -> None:
    loader = ShardLoader(shard, 100, options=LoaderOptions(memory=40_000))
    list(loader)  # in the first epoch the indexes of the parts are read, and kept
    pieces = len(PieceReader(shard, "train").pieces) * len(shard.folders)
    before = bucket_server.counted(bucket)
    list(loader)
    asked = bucket_server.counted(bucket) - before
    assert asked["received"] == 0
    assert sum(count for name, count in asked.items() if name not in ("received", "sent")) == pieces

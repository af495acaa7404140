import pickle
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from spectral_prep.errors import CorruptFileError
from spectral_prep.store.interface import BAD_LABEL
from spectral_train.data.dataset import ShardDataset
from spectral_train.data.grouping import ShardChoice
from spectral_train.data.shard import Shard, open_shard
from tests.support.shards import make_shards, stored


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    return open_shard(make_shards(tmp_path_factory.mktemp("data"), bad=[3, 5, 8], block_rows=64), 1, ShardChoice(2))


@pytest.mark.parametrize("memory", [1, 1 << 20], ids=["chunk by chunk", "all kept"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_item_i_is_the_i_th_good_row(shard: Shard, split: str, memory: int) -> None:
    rows = stored(shard, split)
    good = torch.arange(len(rows.y))[rows.y != BAD_LABEL]
    dataset = ShardDataset(shard, split, memory)
    assert len(dataset) == len(good)
    for index in torch.randperm(len(good), generator=torch.Generator().manual_seed(0)).tolist():
        x, y = dataset[index]
        assert torch.equal(x, shard.standardise(rows.x[good[index], None])[0])
        assert (y, type(y)) == (rows.y[good[index]].item(), int)
    with pytest.raises(IndexError):
        dataset[len(good)]


def test_it_pickles_without_its_rows_and_each_worker_opens_the_files_itself(shard: Shard) -> None:
    dataset = ShardDataset(shard)
    size = len(pickle.dumps(dataset))
    expected = [dataset[index] for index in range(len(dataset))]
    assert len(pickle.dumps(dataset)) == size
    loader = DataLoader(dataset, 50, num_workers=1, multiprocessing_context="forkserver")
    got = list(loader)
    assert torch.equal(torch.cat([x for x, _ in got]), torch.stack([x for x, _ in expected]))
    assert torch.cat([y for _, y in got]).tolist() == [y for _, y in expected]


def test_a_flipped_byte_stops_and_names_the_file(tmp_path: Path) -> None:
    shard = open_shard(make_shards(tmp_path, block_rows=64), 1)
    dataset = ShardDataset(shard)
    part = Path(str(shard.folders[0].paths.part("train", 1, "zarr")))
    content = bytearray(part.read_bytes())
    content[20] ^= 1
    part.write_bytes(content)
    assert dataset[0]
    with pytest.raises(CorruptFileError, match=f"{part}"):
        dataset[70]

from pathlib import Path

import torch

from spectral_train.data.placement import Placement
from spectral_train.data.reader import row_reader
from spectral_train.data.rows import Examples
from spectral_train.data.shard import open_shard
from spectral_train.data.streamed_rows import StreamedRows
from tests.support.shards import make_shards


def test_training_rows_stay_where_they_were_placed_though_memory_is_looked_at_later(
    tmp_path: Path,
) -> None:
    rows = row_reader(
        open_shard(make_shards(tmp_path), 0), torch.device("cpu"), Placement("disk", size=0, budget=1 << 30)
    )
    assert isinstance(rows.examples("train", rows.labels("train").y), StreamedRows)
    assert isinstance(rows.examples("test", rows.labels("test").y), Examples)

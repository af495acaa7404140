from pathlib import Path

import pytest

from spectral_train.data.grouping import ShardChoice
from spectral_train.data.shard import open_shard
from spectral_train.training.baseline import read_images
from spectral_train.training.plan import pixel_statistics
from tests.support.shards import draw, make_shards


def test_the_statistics_of_pixels_follow_from_those_of_spectrals(tmp_path: Path) -> None:
    data = make_shards(tmp_path, train=draw(300, channels=3), dtype="float32")
    all_spectrals = open_shard(data, 0, ShardChoice(1))
    images = read_images(all_spectrals, "train").double()
    mean, std = pixel_statistics(all_spectrals)
    assert list(mean) == pytest.approx(images.mean((0, 2, 3)).tolist(), rel=1e-4)
    assert list(std) == pytest.approx(images.std((0, 2, 3)).tolist(), rel=1e-3)

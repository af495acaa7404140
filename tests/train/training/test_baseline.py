import shutil
from pathlib import Path

import pytest
import torch

from spectral_prep.choices import Storage
from spectral_prep.errors import InputError
from spectral_prep.spectrum import SpectralSpec
from spectral_train.data.grouping import ShardChoice
from spectral_train.data.shard import open_shard, read_labels
from spectral_train.run.outputs import HELD_OUT, TEST, read_outputs
from spectral_train.run.paths import RunPaths
from spectral_train.run.record import read_network
from spectral_train.training.baseline import read_images, train_baseline
from spectral_train.training.branch import train_branch
from tests.support.commands import done
from tests.support.commands import run as command
from tests.support.runs import CPU, QUICK, equal_weights, on_cpu
from tests.support.shards import draw, make_shards


@pytest.mark.parametrize("dtype", ["int8", "float16"])
@pytest.mark.parametrize(
    "spec", [SpectralSpec(2, 2), SpectralSpec(1, 8, transform="dct2"), SpectralSpec(4, 2, "tiles")]
)
def test_the_images_come_back_from_all_spectrals(tmp_path: Path, spec: SpectralSpec, dtype: Storage) -> None:
    images = draw(300, channels=3)
    data = make_shards(tmp_path, train=images, test=images, spec=spec, dtype=dtype)
    all_spectrals = open_shard(data, 0, ShardChoice(1))
    ids = read_labels(all_spectrals.folders, "train").ids
    merged = read_images(all_spectrals, "train")
    assert merged.dtype == torch.uint8
    difference = merged.permute(0, 2, 3, 1).int() - torch.from_numpy(images.pixels[ids]).int()
    assert difference.abs().max() <= (0 if dtype == "float16" else 8)


def test_the_baseline_is_the_branch_widened_on_the_same_rows(tmp_path: Path) -> None:
    data = make_shards(tmp_path / "data", bad=[2])
    run = RunPaths(tmp_path / "run")
    branch = train_branch(open_shard(data, 0), QUICK, run.branch(0), CPU)
    baseline = train_baseline(on_cpu(data, run.root))
    assert baseline.plan.recipe.model_options == {"depth": 2, "width": 16 * 4}
    assert baseline.plan.input_shape == (1, 8, 8)
    assert baseline.rows == branch.rows
    for rows in (HELD_OUT, TEST):
        ours, theirs = (read_outputs(paths.outputs, rows) for paths in (run.baseline, run.branch(0)))
        assert ours.ids.tolist() == theirs.ids.tolist()
        assert ours.labels.tolist() == theirs.labels.tolist()
    assert read_outputs(run.baseline.outputs, TEST).accuracy > 0.9


def test_the_same_seed_gives_the_same_baseline_and_it_is_not_trained_again(tmp_path: Path) -> None:
    data = make_shards(tmp_path / "data")
    one, two = (RunPaths(tmp_path / name) for name in ("one", "two"))
    for run in (one, two):
        train_baseline(on_cpu(data, run.root))
    assert equal_weights(one.baseline, two.baseline)
    lines: list[str] = []
    assert train_baseline(on_cpu(data, one.root), lines.append) == read_network(one.baseline)
    assert lines == [f"baseline: finished already in {one.baseline.root}"]


def test_missing_spectral_folders_are_named(tmp_path: Path) -> None:
    data = make_shards(tmp_path / "data")
    shutil.rmtree(data / "spectral-00")
    shutil.rmtree(data / "spectral-02")
    with pytest.raises(InputError, match="no spectral-00, spectral-02"):
        train_baseline(on_cpu(data, tmp_path / "run"))


def test_shards_that_would_change_nothing_are_refused(tmp_path: Path) -> None:
    data, run = make_shards(tmp_path / "data"), tmp_path / "run"
    line = f"spectral-train --baseline --data {data} --model fc --epochs 1"
    for more in (f"--run {run}", "--dry-run"):
        refused = command(f"{line} --shards 3 {more}")
        assert (refused.code, "3 shards do not divide 4 spectrals" in refused.err) == (2, True), refused.err
    train_branch(open_shard(data, 0), QUICK, RunPaths(run).branch(0), CPU)
    refused = command(f"{line} --shards 2 --run {run}")
    assert (refused.code, "Got: --shards 2 --grouping contiguous\n" in refused.err) == (2, True), refused.err
    assert "Expected: --shards 4 --grouping contiguous\n" in refused.err
    assert not RunPaths(run).baseline.root.exists()
    done(f"{line} --shards 4 --run {run}")
    done(f"{line} --run {run}")

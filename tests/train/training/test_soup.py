import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spectral_prep.errors import InputError, PlanMismatchError
from spectral_train.data.loader import usable
from spectral_train.data.pieces import read_values
from spectral_train.data.shard import open_shard, read_labels
from spectral_train.ensemble.evaluate import evaluate
from spectral_train.recipe.recipe import Recipe
from spectral_train.run.outputs import HELD_OUT, read_outputs
from spectral_train.run.paths import RunPaths
from spectral_train.run.record import read_network
from spectral_train.training.branch import train_branches
from spectral_train.training.network import partition_rows
from spectral_train.training.soup import soup
from tests.support.runs import QUICK, make_run, on_cpu, weights_of
from tests.support.shards import make_shards

CONV = Recipe(model="conv", model_options={"depth": 3, "width": 4}, epochs=2, batch_size=32)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One network trained at two rates from the same start, and one from another."""
    root = tmp_path_factory.mktemp("runs")
    recipes = {"one": QUICK, "rate": replace(QUICK, lr=0.005), "seed": replace(QUICK, seed=1)}
    return {name: make_run(data, root / name, recipe) for name, recipe in recipes.items()}


def test_the_weights_are_the_mean(data: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    ingredients = [runs["one"], runs["rate"], runs["seed"]]
    records = soup(ingredients, tmp_path / "soup", data, "uniform", "cpu")
    assert [record.plan.shard for record in records] == [0, 1, 2, 3]
    for shard in range(4):
        found = weights_of(RunPaths(tmp_path / "soup").branch(shard))
        each = [weights_of(RunPaths(run).branch(shard)) for run in ingredients]
        for name, mean in found.items():
            torch.testing.assert_close(mean, sum(weights[name] for weights in each) / 3)
        assert len(records[shard].ingredients) == 3


def test_a_soup_of_equals_is_the_run_itself(data: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(runs["one"], tmp_path / "copy")
    records = soup([runs["one"], Path(copy)], tmp_path / "soup", data, device="cpu")
    assert all(len(record.ingredients) == 2 for record in records)
    assert evaluate(tmp_path / "soup") == evaluate(runs["one"])
    lock = RunPaths(tmp_path / "soup").branch(1).lock
    lock.write_text("host 1 2026-01-01 00:00:00")  # as a kill right after the record leaves it
    assert soup([runs["one"], Path(copy)], tmp_path / "soup", data, device="cpu") == records
    assert not lock.exists()


def test_greedy_is_never_less_accurate_than_the_best_alone(data: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    together = [runs["one"], runs["seed"], runs["rate"]]
    for shard, record in enumerate(soup(together, tmp_path / "soup", data, device="cpu")):
        best = min((read_network(RunPaths(run).branch(shard)) for run in together), key=lambda each: each.held_out_loss)
        outputs = read_outputs(RunPaths(tmp_path / "soup").branch(shard).outputs, HELD_OUT)
        assert outputs.accuracy == record.held_out_accuracy >= best.held_out_accuracy
        assert best.files[0].sha256 in record.ingredients


def test_batch_norm_is_estimated_again_on_the_training_rows(data: Path, tmp_path: Path) -> None:
    rates = (1e-3, 1e-2)
    ingredients = [make_run(data, tmp_path / f"lr{rate}", replace(CONV, lr=rate)) for rate in rates]
    soup(ingredients, tmp_path / "soup", data, "uniform", "cpu")
    weights = weights_of(RunPaths(tmp_path / "soup").branch(1))
    shard = open_shard(data, 1)
    labels = read_labels(shard.folders, "train")
    trained_on = torch.from_numpy(partition_rows(labels, CONV).training[0])
    assert usable(labels.y).all()
    x = shard.standardise(read_values(shard, "train")[trained_on])
    maps = torch.nn.functional.conv2d(x, weights["0.weight"], padding=1)
    batches = torch.split(maps, 32)
    mean = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    torch.testing.assert_close(weights["1.running_mean"], mean, rtol=1e-3, atol=1e-5)


def test_what_cannot_be_averaged_is_refused(data: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    for recipe, field in (
        (replace(QUICK, model_options={"depth": 2, "width": 8}), "recipe.options.width"),
        (replace(QUICK, holdout_seed=1), "recipe.holdout_seed"),
    ):
        other = make_run(data, tmp_path / field, replace(recipe, epochs=1))
        with pytest.raises(PlanMismatchError, match=rf"cannot be averaged.*{field}"):
            soup([runs["one"], other], tmp_path / "soup", data)
    with pytest.raises(PlanMismatchError, match="another data set"):
        soup([runs["one"], runs["rate"]], tmp_path / "soup", make_shards(tmp_path / "d", dataset_id="f" * 16))
    with pytest.raises(InputError, match="two runs or more"):
        soup([runs["one"]], tmp_path / "soup", data)
    with pytest.raises(InputError, match="one of greedy, uniform"):
        soup([runs["one"], runs["rate"]], tmp_path / "soup", data, "hot")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="there is a run already"):
        soup([runs["one"], runs["rate"]], runs["seed"], data)


def test_every_branch_is_held_against_those_of_its_number(data: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    mixed = Path(shutil.copytree(runs["one"], tmp_path / "mixed"))
    shutil.rmtree(mixed / "branch-02")
    train_branches(on_cpu(data, mixed, replace(QUICK, model_options={"depth": 2, "width": 8}, epochs=1)), 2)
    with pytest.raises(PlanMismatchError, match=r"cannot be averaged.*recipe\.options\.width"):
        soup([runs["one"], mixed], tmp_path / "soup", data)
    assert not (tmp_path / "soup").exists()


def test_the_mean_of_some_is_not_that_of_all(data: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    together = [runs["one"], runs["seed"]]  # of other random weights: greedy keeps one of them
    kept = soup(together, tmp_path / "soup", data, "greedy", "cpu")
    assert len(kept[0].ingredients) == 1
    with pytest.raises(InputError, match="there is a run already"):
        soup(together, tmp_path / "soup", data, "uniform", "cpu")


def test_the_data_set_of_the_runs_is_found_by_its_id(
    data: Path, runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_shards(tmp_path / "spectral/another", dataset_id="f" * 16)
    shutil.copytree(data, tmp_path / "spectral/the-one")
    monkeypatch.chdir(tmp_path)
    assert len(soup([runs["one"], runs["rate"]], tmp_path / "soup", method="uniform", device="cpu")) == 4

"""One stack of all branches gives the branches that train apart, in the same files, resumed or not."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from spectral_prep.errors import InputError
from spectral_train.data.shard import open_shard
from spectral_train.device import Resources
from spectral_train.ensemble.evaluate import evaluate
from spectral_train.recipe.recipe import Recipe
from spectral_train.run import weights
from spectral_train.run.metrics import Log, silent
from spectral_train.run.outputs import HELD_OUT, TEST, read_outputs
from spectral_train.run.paths import RunPaths
from spectral_train.run.record import read_network
from spectral_train.training import devices, processes, stack
from spectral_train.training.branch import train_branch, train_branches
from spectral_train.training.devices import train_on_devices
from tests.support.runs import CPU, QUICK, equal_weights, on_cpu, weights_of
from tests.support.shards import make_shards
from tests.train.training.test_branch import StoppedError

CONV = replace(QUICK, model="conv", model_options={"depth": 3, "width": 4}, lr=0.003)
RECIPES = {
    "fc, noise": QUICK,
    "conv with batch norm": CONV,
    "augmented": replace(CONV, augment="shift,mixup", label_smoothing=0.1),
    "sgd, clipped, averaged": replace(CONV, optimizer="sgd", clip=0.5, ema=0.9, schedule="cosine"),
    "early stopping": replace(QUICK, epochs=12, lr=0.05, patience=2),
}
RTOL, ATOL = 1e-3, 1e-4
"""Of weights and log-probabilities after all epochs: batched kernels add in another order."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("data"), bad=[3, 5, 8])


@pytest.fixture(autouse=True)
def _one_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests share their cores with others: threads that wait for each other would be many times slower."""
    for module in (stack, processes, devices):
        monkeypatch.setattr(module, "usable_cpus", lambda: 1)


def jointly(data: Path, run: Path, recipe: Recipe, log: Log = silent, resources: Resources = CPU) -> RunPaths[Path]:
    train_on_devices(replace(on_cpu(data, run, recipe), resources=resources), "always", log)
    return RunPaths(run)


def require_the_same(one: RunPaths[Path], other: RunPaths[Path]) -> None:
    for shard in range(4):
        mine, theirs = one.branch(shard), other.branch(shard)
        record, expected = read_network(mine), read_network(theirs)
        assert record.plan == expected.plan
        assert (record.rows, record.parameters) == (expected.rows, expected.parameters)
        assert {path.name for path in mine.root.iterdir()} == {path.name for path in theirs.root.iterdir()}
        torch.testing.assert_close(weights_of(mine), weights_of(theirs), rtol=RTOL, atol=ATOL)
        for rows in (HELD_OUT, TEST):
            got, wanted = read_outputs(mine.outputs, rows), read_outputs(theirs.outputs, rows)
            torch.testing.assert_close(got.log_probabilities, wanted.log_probabilities, rtol=RTOL, atol=ATOL)
            assert (got.ids == wanted.ids).all()


@pytest.mark.parametrize("name", RECIPES)
def test_the_same_seeds_give_the_branches_that_train_apart(data: Path, tmp_path: Path, name: str) -> None:
    apart = on_cpu(data, tmp_path / "apart", RECIPES[name])
    train_branches(replace(apart, resources=Resources("cpu", workers=1)))
    stacked = jointly(data, tmp_path / "joint", RECIPES[name])
    require_the_same(stacked, RunPaths(tmp_path / "apart"))
    assert evaluate(stacked.root).branches


def test_branches_stopped_at_different_epochs_are_resumed_to_the_same_weights(data: Path, tmp_path: Path) -> None:
    undisturbed = jointly(data, tmp_path / "undisturbed", CONV)
    stopped = RunPaths(tmp_path / "stopped")
    train_branch(open_shard(data, 3), CONV, stopped.branch(3), CPU)

    def stop(line: str) -> None:
        if line.startswith("branch 1: epoch 2/"):
            raise StoppedError

    with pytest.raises(StoppedError):
        jointly(data, stopped.root, CONV, stop)
    lines: list[str] = []
    jointly(data, stopped.root, CONV, lines.append)
    assert [line.split(":")[0] for line in lines if "epoch 2/" in line] == ["branch 2"]
    assert any("branch 3: finished already" in line for line in lines)
    require_the_same(stopped, undisturbed)


def test_a_run_with_dropout_is_repeatable(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dropped(name: str, shape: tuple[int, ...], classes: int, **options: object) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, classes))

    monkeypatch.setattr(weights, "build", dropped)
    recipe = replace(QUICK, epochs=2)
    one, two = jointly(data, tmp_path / "one", recipe), jointly(data, tmp_path / "two", recipe)
    assert all(equal_weights(one.branch(shard), two.branch(shard)) for shard in range(4))


@pytest.mark.parametrize(
    ("recipe", "resources", "reason"),
    [
        (replace(CONV, channels_last=True), CPU, "channels_last"),
        (QUICK, Resources("cpu", compiled=True), "--compile"),
        (QUICK, Resources("cpu", memory=100), "do not fit"),
    ],
)
def test_what_a_stack_cannot_do_is_refused(
    data: Path, tmp_path: Path, recipe: Recipe, resources: Resources, reason: str
) -> None:
    with pytest.raises(InputError, match=f"{reason}.*without --joint"):
        jointly(data, tmp_path, recipe, resources=resources)


def test_a_network_that_vmap_cannot_take_is_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fickle(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.flatten(1) if x.sum() > 0 else -x.flatten(1))

    monkeypatch.setattr(weights, "build", lambda name, shape, classes, **options: Fickle(16, classes))
    with pytest.raises(InputError, match=r"fc cannot be trained jointly.*without --joint"):
        jointly(data, tmp_path, QUICK)

from pathlib import Path

import pytest

from spectral_train.data.shard import open_shard
from spectral_train.device import Resources
from spectral_train.recipe.recipe import Recipe
from spectral_train.training.plan import branch_plan
from spectral_train.training.processes import processes_for, threads_for
from tests.support.shards import make_shards


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(
    ("model", "options", "threads"),
    [
        ("fc", {}, 1),
        ("fc", {"width": 256}, 5),
        ("tnn", {"width": 28}, 1),
        ("conv", {"width": 4}, 5),
        ("resnet34", {"width": 0.1}, 5),
        ("timm:resnet18", {}, 5),
    ],
)
def test_narrow_linear_layers_train_on_one_thread(
    data: Path, monkeypatch: pytest.MonkeyPatch, model: str, options: dict[str, float], threads: int
) -> None:
    monkeypatch.setattr("spectral_train.training.processes.usable_cpus", lambda: 5)
    assert threads_for(branch_plan(open_shard(data, 0), Recipe(model=model, model_options=options))) == threads


@pytest.mark.parametrize(
    ("model", "workers", "networks", "processes"),
    [("fc", None, 9, 5), ("fc", 2, 9, 2), ("fc", 9, 3, 3), ("conv", 4, 9, 1)],
)
def test_as_many_networks_train_side_by_side_as_have_threads_of_their_own(
    data: Path, monkeypatch: pytest.MonkeyPatch, model: str, workers: int | None, networks: int, processes: int
) -> None:
    monkeypatch.setattr("spectral_train.training.processes.usable_cpus", lambda: 5)
    plan = branch_plan(open_shard(data, 0), Recipe(model=model))
    assert processes_for(plan, Resources("cpu", workers), networks) == processes

"""Branches as Ray's tasks: the weights of processes, whatever dies on the way."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spectral_prep.engines.interface import Needs
from spectral_prep.engines.processes import Processes
from spectral_prep.engines.ray_cluster import Ray
from spectral_prep.errors import InputError
from spectral_train.data.shard import open_shard
from spectral_train.device import Resources
from spectral_train.recipe.recipe import override
from spectral_train.run.paths import RunPaths
from spectral_train.training import branch
from spectral_train.training.branch import train_branches
from spectral_train.training.plan import branch_plan
from spectral_train.training.processes import PROCESS_BYTES, needs_of
from spectral_train.training.request import TrainingRequest
from tests.support.clusters import kill_one
from tests.support.commands import run
from tests.support.runs import QUICK, equal_weights, make_run, on_cpu
from tests.support.shards import make_shards

LONGER = replace(QUICK, epochs=40)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("data"))


def test_branches_with_one_killed_have_the_weights_of_processes(ray_nodes: Any, data: Path, tmp_path: Path) -> None:
    make_run(data, tmp_path / "here", LONGER)
    killed: list[int] = []
    killer = threading.Thread(target=lambda: killed.append(kill_one("branch", seconds=60)))
    killer.start()
    lines: list[str] = []
    asked = replace(on_cpu(data, tmp_path / "ray", LONGER), resources=Resources("cpu", engine=Ray()))
    records = train_branches(asked, log=lines.append)
    killer.join()
    assert killed == [1]
    assert [record.plan.shard for record in records] == [0, 1, 2, 3]
    assert sum("done, held-out accuracy" in line for line in lines) == 4
    for shard in range(4):
        assert equal_weights(RunPaths(tmp_path / "ray").branch(shard), RunPaths(tmp_path / "here").branch(shard))


def test_an_error_of_ours_is_the_users_and_a_gpu_that_no_node_has_is_refused(
    ray_nodes: Any, data: Path, tmp_path: Path
) -> None:
    line = f"spectral-train --shard all --data {data} --run {tmp_path / 'run'} --epochs 1 --model fc --engine ray"
    refused = run(f"{line} --gpus-per-branch 1")
    assert refused.code == 2
    assert "1 GPUs\nGot: 127.0.0.1" in refused.err
    refused = run(f"{line} --device cpu --lr 1e30")
    assert refused.code == 2
    assert "Error: branch " in refused.err
    assert "diverged in epoch 1" in refused.err


@pytest.mark.parametrize(
    "options",
    ["--shard 1 --engine ray", "--shard all --joint --engine ray", "--shard all --gpus-per-branch 1"],
)
def test_options_that_do_not_go_together_are_refused(data: Path, options: str) -> None:
    assert run(f"spectral-train --data {data} {options}").code == 2


def test_what_a_branch_takes_is_asked_of_the_engine(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spectral_train.training.processes.usable_cpus", lambda: 5)
    monkeypatch.setattr(Ray, "has_gpus", lambda ray: False)
    plan, wide = (
        branch_plan(open_shard(data, 0), replace(QUICK, model=name, model_options={})) for name in ("fc", "conv")
    )
    resources = Resources(engine=Ray())
    assert needs_of(plan, resources, 100).memory == PROCESS_BYTES + 100
    assert needs_of(plan, replace(resources, memory=40), 100).memory == PROCESS_BYTES + 40
    assert needs_of(plan, resources, 100).cpus == 1
    assert needs_of(wide, resources, 100).cpus == 5
    on_gpu = needs_of(wide, replace(resources, gpus=0.5), 100)
    assert (on_gpu.cpus, on_gpu.gpus) == (1, 0.5)
    assert needs_of(wide, replace(resources, device="cuda"), 100).gpus == 1
    monkeypatch.setattr(Ray, "has_gpus", lambda ray: True)
    assert needs_of(wide, resources, 100).gpus == 1
    assert needs_of(wide, replace(resources, device="cpu"), 100).gpus == 0
    with pytest.raises(InputError, match="a GPU for what trains on the CPU"):
        needs_of(wide, Resources("cpu", engine=Ray(), gpus=1), 100)


class Asked(Processes):
    """An engine elsewhere that is asked how many tasks run side by side, and refuses."""

    @property
    def elsewhere(self) -> bool:
        return True

    def at_once(self, needs: Needs) -> int:
        raise InputError(f"{needs.cpus} CPUs were asked for")


def test_the_widest_branch_says_how_many_cpus_are_asked_for(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spectral_train.training.processes.usable_cpus", lambda: 5)
    recipe = override(QUICK, model_options={"width": 200})
    request = TrainingRequest(data, recipe, tmp_path / "run", resources=Resources("cpu", engine=Asked()))
    for width_by, cpus in (("uniform", 1), ((2.0, 1.0, 1.0, 1.0), 5)):
        with pytest.raises(InputError, match=f"{cpus} CPUs were asked for"):
            branch.train_branches(replace(request, width_by=width_by))  # type: ignore[arg-type]


def test_a_node_that_does_not_see_the_run_trains_nothing(data: Path, tmp_path: Path) -> None:
    shard = open_shard(data, 0)
    task = branch.BranchTask(shard, QUICK, RunPaths(tmp_path / "away").branch(0), Resources("cpu", engine=Ray()))
    with pytest.raises(InputError, match="not seen by a worker"):
        branch.run_task(task)
    assert not (tmp_path / "away").exists()

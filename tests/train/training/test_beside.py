"""Branches that are refused before they are trained: those beside them in the run could not be combined with them."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from spectral_prep.errors import PlanMismatchError
from spectral_prep.grid import SpectralSpec
from spectral_train.data.grouping import ShardChoice
from spectral_train.recipe.recipe import override
from spectral_train.run.branches import read_branches
from spectral_train.run.paths import RunPaths
from spectral_train.training.branch import train_branches
from spectral_train.training.request import TrainingRequest
from tests.support.commands import done
from tests.support.runs import CPU, QUICK, equal_weights
from tests.support.shards import make_shards, smooth

SHORT = override(QUICK, epochs=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, spec = tmp_path_factory.mktemp("data"), SpectralSpec(2, 2)
    return make_shards(root, train=smooth(200, 0), test=smooth(20, 1), spec=spec)


def request(data: Path, run: Path) -> TrainingRequest:
    return TrainingRequest(data, SHORT, run, resources=CPU)


Change = Callable[[TrainingRequest], TrainingRequest]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda asked: replace(asked, choice=ShardChoice(2)), "shards: 4 in branch 0, 2 in branch 1"),
        (lambda asked: replace(asked, choice=ShardChoice(common=(0,))), r"common: \[\] in branch 0, \[0\] in branch 1"),
        (lambda asked: replace(asked, recipe=override(SHORT, holdout_seed=7)), "hold-out.seed: 0 in branch 0, 7 in"),
        (lambda asked: replace(asked, width_by="energy"), "beside branch 0 of width 16 without --width-by.*energy"),
        (lambda asked: replace(asked, width_by=(2.0, 1.0, 1.0, 1.0)), "Got: branch 1 .* by a file of --width-by"),
    ],
)
def test_a_branch_of_another_kind_is_refused(data: Path, tmp_path: Path, change: Change, told: str) -> None:
    train_branches(request(data, tmp_path), 0)
    with pytest.raises(PlanMismatchError, match=told):
        train_branches(change(request(data, tmp_path)), 1)
    assert not RunPaths(tmp_path).branch(1).root.exists()
    train_branches(request(data, tmp_path), 1)


def test_another_data_set_is_refused(data: Path, tmp_path: Path) -> None:
    run, other = tmp_path / "run", make_shards(tmp_path / "other", dataset_id="f" * 16)
    train_branches(request(data, run), 0)
    with pytest.raises(PlanMismatchError, match=r"dataset_id.*the same command as for branch 0, or with another --run"):
        train_branches(request(other, run), 1)


def test_a_branch_without_the_rule_of_the_others_is_told_how_they_were_trained(data: Path, tmp_path: Path) -> None:
    by_energy = replace(request(data, tmp_path / "whole"), width_by="energy")
    train_branches(by_energy)
    shutil.copytree(tmp_path / "whole" / "branch-00", tmp_path / "run" / "branch-00")
    with pytest.raises(PlanMismatchError, match=r"branch 0 of width .* by --width-by energy") as error:
        train_branches(request(data, tmp_path / "run"), 2)
    command, _, rest = dict(error.value.parts)["Run next"].partition(", or ")
    assert rest == "the same command with another --run"
    done(f"{command} --device cpu --workers 1")
    one, other = (RunPaths(tmp_path / name).branch(2) for name in ("run", "whole"))
    assert equal_weights(one, other)


def test_a_run_that_is_mixed_already_takes_the_branch_that_goes_with_most(data: Path, tmp_path: Path) -> None:
    run, by_energy = tmp_path / "run", replace(request(data, tmp_path / "run"), width_by="energy")
    train_branches(by_energy, 0)
    train_branches(request(data, tmp_path / "other"), 1)
    shutil.copytree(tmp_path / "other" / "branch-01", run / "branch-01")
    train_branches(by_energy, 2)
    with pytest.raises(PlanMismatchError, match="branch 3 would not belong"):
        train_branches(request(data, run), 3)
    train_branches(by_energy, 3)
    assert len(read_branches(RunPaths(run), without=[1])) == 3


def test_damaged_records_beside_it_do_not_keep_a_branch_from_its_training(data: Path, tmp_path: Path) -> None:
    train_branches(request(data, tmp_path), 0)
    RunPaths(tmp_path).branch(0).record.write_text("{")
    assert train_branches(request(data, tmp_path), 1)[0].plan.shard == 1

"""Branches trained elsewhere come together as they are, or are refused before anything is written."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from spectral_prep.errors import CorruptFileError, InputError, PlanMismatchError
from spectral_prep.places import sole_use
from spectral_prep.places.url import Url
from spectral_train.data.grouping import ShardChoice
from spectral_train.run.branches import read_branches
from spectral_train.run.paths import RunPaths
from spectral_train.training.baseline import train_baseline
from spectral_train.training.branch import train_branches
from spectral_train.training.collect import collect
from tests.support.commands import run as command
from tests.support.runs import QUICK, make_run, on_cpu
from tests.support.shards import make_shards
from tests.support.trees import tree


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run `whole` of four branches and the baseline, and runs of other plans and data."""
    root = tmp_path_factory.mktemp("root")
    data = make_shards(root / "data")
    make_run(data, root / "whole")
    train_baseline(on_cpu(data, root / "whole"))
    train_branches(on_cpu(data, root / "seed", replace(QUICK, seed=1)), 1)
    train_branches(on_cpu(data, root / "two", choice=ShardChoice(2)), 1)
    train_branches(on_cpu(make_shards(root / "other", dataset_id="f" * 16), root / "elsewhere"), 3)
    return root


def test_branches_of_nodes_become_the_run_of_one_machine(root: Path, tmp_path: Path) -> None:
    for number in range(4):
        shutil.copytree(root / "whole" / f"branch-{number:02}", tmp_path / f"node-{number}" / f"branch-{number:02}")
    shutil.copytree(root / "whole" / "baseline", tmp_path / "big")
    nodes = [tmp_path / "node-3", tmp_path / "node-1" / "branch-01", tmp_path / "node-0", tmp_path / "big"]
    found = collect(tmp_path / "run", nodes)
    assert [(each.name, each.new) for each in found] == [
        ("branch 3", True),
        ("branch 1", True),
        ("branch 0", True),
        ("baseline", True),
    ]
    assert RunPaths(tmp_path / "run").finished() == (0, 1, 3)
    again = collect(tmp_path / "run", [*nodes, tmp_path / "node-2"])
    assert [each.new for each in again] == [False, False, False, False, True]
    everything = tree(tmp_path / "run")
    assert everything == {path: what for path, what in tree(root / "whole").items() if "tensorboard" not in str(path)}
    assert len(read_branches(RunPaths(tmp_path / "run"))) == 4


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ("seed", "two different networks are branch 1.*recipe.seed: 0 in one, 1 in the other"),
        ("two", "do not belong together.*shards: 4"),
        ("elsewhere", "do not belong together.*dataset_id"),
    ],
)
def test_what_is_of_another_plan_is_refused_before_anything_is_copied(
    root: Path, tmp_path: Path, other: str, words: str
) -> None:
    collect(tmp_path / "run", [root / "whole" / "branch-01"])
    before = tree(tmp_path / "run")
    for folders in ([root / "whole" / "branch-02", root / other], [root / other, root / "whole" / "branch-02"]):
        with pytest.raises(PlanMismatchError, match=words):
            collect(tmp_path / "run", folders)
    assert tree(tmp_path / "run") == before
    with pytest.raises(PlanMismatchError):
        collect(tmp_path / "fresh", [root / "whole", root / other])
    assert not (tmp_path / "fresh").exists()


def test_the_same_weights_from_two_places_are_one_branch(root: Path, tmp_path: Path) -> None:
    assert len(collect(tmp_path / "run", [root / "whole" / "branch-01", root / "whole"])) == 5


def test_a_flipped_byte_is_found_before_anything_is_copied(root: Path, tmp_path: Path) -> None:
    node = shutil.copytree(root / "whole" / "branch-01", tmp_path / "node")
    content = bytearray((node / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (node / "model.safetensors").write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"node/model\.safetensors"):
        collect(tmp_path / "run", [root / "whole" / "branch-00", node])
    assert not (tmp_path / "run").exists()


def test_a_kill_between_two_files_leaves_no_branch_and_the_rerun_completes_it(root: Path, tmp_path: Path) -> None:
    paths = RunPaths(tmp_path / "run").branch(1)
    shutil.copytree(root / "whole" / "branch-01", paths.root)
    paths.record.unlink()
    (paths.root / "model.safetensors.0123.partial").write_text("part")
    collect(tmp_path / "run", [root / "whole" / "branch-01"])
    assert RunPaths(tmp_path / "run").finished() == (1,)
    assert not list(paths.root.glob("*.partial"))
    paths.lock.write_text("host 1 2026-01-01 00:00:00")
    collect(tmp_path / "run", [root / "whole" / "branch-01"])
    assert not paths.lock.exists()


def test_what_is_begun_or_being_trained_there_is_left_alone(root: Path, tmp_path: Path) -> None:
    paths = RunPaths(tmp_path / "run").branch(1)
    with (
        sole_use(paths.lock, "branch 1 is trained already"),
        pytest.raises(InputError, match="branch 1 is written already by another process"),
    ):
        collect(tmp_path / "run", [root / "whole" / "branch-01"])
    paths.root.mkdir(parents=True, exist_ok=True)
    paths.checkpoint.write_text("an epoch")
    with pytest.raises(InputError, match="branch 1 is begun here and not finished"):
        collect(tmp_path / "run", [root / "whole" / "branch-01"])
    assert paths.checkpoint.read_text() == "an epoch"


def test_a_folder_without_a_network_is_refused_by_name(root: Path, tmp_path: Path) -> None:
    for nothing in (tmp_path, tmp_path / "nowhere", root / "data"):
        with pytest.raises(InputError, match=f"no trained network here.*{nothing}"):
            collect(tmp_path / "run", [root / "whole", nothing])


def test_the_command_takes_buckets(root: Path, bucket_folder: Url) -> None:
    told = command(
        f"spectral-ensemble collect {bucket_folder}/run {root}/whole/branch-02 {root}/whole/branch-00 --json"
    )
    assert json.loads(told.out)["branches"] == [0, 2], told.err
    back = command(f"spectral-ensemble collect {root}/back {bucket_folder}/run")
    assert "holds 2 branches" in back.out, back.err
    assert (root / "back/branch-02/branch.json").read_bytes() == (root / "whole/branch-02/branch.json").read_bytes()

from pathlib import Path

from spectral_prep.spectrum import SpectralSpec
from spectral_train.data.grouping import ShardChoice
from spectral_train.run.paths import RunPaths, default_run


def test_a_run_has_a_folder_for_each_branch_and_one_for_the_baseline() -> None:
    run = RunPaths(Path("runs/mine"))
    assert run.branch(3).record == Path("runs/mine/branch-03/branch.json")
    assert run.branch(255).root.name == "branch-255"
    assert run.baseline.model == Path("runs/mine/baseline/model.safetensors")


def test_a_branch_is_finished_when_its_record_is_there(tmp_path: Path) -> None:
    run = RunPaths(tmp_path)
    assert run.finished() == ()
    for shard in (10, 2):
        run.branch(shard).root.mkdir()
        run.branch(shard).record.touch()
    run.branch(5).root.mkdir()
    (tmp_path / "branch-x").mkdir()
    (tmp_path / "branch-x" / "branch.json").touch()
    assert run.finished() == (2, 10)


def test_the_default_run_tells_the_data_set_and_what_is_unusual() -> None:
    spec = SpectralSpec(4, 4)
    assert default_run("mnist", spec, "fc").root == Path("runs/mnist-q16-fc")
    assert default_run("mnist", spec, "fc", ShardChoice(16)).root == Path("runs/mnist-q16-fc")
    assert default_run("mnist", SpectralSpec(4, 4, "tiles"), "fc").root == Path("runs/mnist-q16-tiles-fc")


def test_runs_of_different_branches_never_share_a_folder() -> None:
    spec = SpectralSpec(4, 4)
    roots = [
        default_run("d", spec, "fc", ShardChoice(shards, grouping, common)).root
        for shards in (16, 4)
        for grouping in ("contiguous", "balanced")
        for common in ((), (0,), (0, 1))
        if (shards, grouping) != (16, "balanced")  # one spectral a shard: grouping changes nothing
    ]
    assert len(set(roots)) == len(roots)

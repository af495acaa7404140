import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from spectral_prep.errors import InputError, PlanMismatchError, SpectralError
from spectral_prep.spectrum import SpectralSpec
from spectral_train.data.grouping import ShardChoice
from spectral_train.data.shard import open_shard, open_shards
from spectral_train.models import MODELS, parameter_count
from spectral_train.recipe.recipe import Recipe, override
from spectral_train.run.branches import read_branches
from spectral_train.run.commands import train_command
from spectral_train.run.paths import NetworkPaths, RunPaths
from spectral_train.run.record import read_network
from spectral_train.run.weights import shape_network
from spectral_train.training.branch import train_branches
from spectral_train.training.collect import collect
from spectral_train.training.plan import branch_plan
from spectral_train.training.request import TrainingRequest, WidthBy
from spectral_train.training.widths import own_width, read_multipliers
from tests.support.commands import done
from tests.support.commands import run as command
from tests.support.runs import CPU, QUICK, equal_weights, rewrite_record
from tests.support.shards import make_shards, smooth


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, spec = tmp_path_factory.mktemp("data"), SpectralSpec(2, 2)
    return make_shards(root, train=smooth(200, 0), test=smooth(20, 1), spec=spec)


def sizes(data: Path, recipe: Recipe, by: WidthBy, choice: ShardChoice = ShardChoice()) -> list[int]:  # noqa: B008
    plans = [branch_plan(shard, own_width(shard, recipe, by)) for shard in open_shards(data, choice)]
    return [parameter_count(shape_network(plan)) for plan in plans]


@pytest.mark.parametrize("choice", [ShardChoice(), ShardChoice(2, "balanced", (0,))])
@pytest.mark.parametrize("model", ["fc", "conv", "resnet34"])
def test_unequal_branches_are_together_as_large(data: Path, model: str, choice: ShardChoice) -> None:
    recipe = Recipe(model=model)
    uniform, by_energy = (sizes(data, recipe, by, choice) for by in ("uniform", "energy"))
    assert sum(by_energy) == pytest.approx(sum(uniform), rel=0.03)
    energy = open_shard(data, 0, choice).first.energy
    totals = [sum(energy[k] for k in shard.spectrals) for shard in open_shards(data, choice)]
    order = sorted(range(len(totals)), key=totals.__getitem__)
    assert [by_energy[shard] for shard in order] == sorted(by_energy)
    assert max(by_energy) > min(by_energy)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_multipliers_are_proportions(data: Path, scale: float) -> None:
    by = tuple(scale * each for each in (2, 1, 1, 1))
    assert sizes(data, Recipe(model="fc"), by, ShardChoice()) == sizes(data, Recipe(model="fc"), (2, 1, 1, 1))


def test_a_node_finds_the_width_of_its_branch_from_its_own_folder(data: Path) -> None:
    alone = open_shard(data / "spectral-02", 2)
    assert own_width(alone, QUICK, "energy") == own_width(open_shards(data)[2], QUICK, "energy")


def test_the_width_is_in_the_plan_of_the_branch(data: Path, tmp_path: Path) -> None:
    recipe = override(QUICK, epochs=1)
    (record,) = train_branches(TrainingRequest(data, recipe, tmp_path, resources=CPU, width_by=(3, 1, 1, 1)), 0)
    assert record.plan.recipe.model_options["width"] > 16
    (again,) = train_branches(TrainingRequest(data, recipe, tmp_path, resources=CPU, width_by=(3, 1, 1, 1)), 0)
    assert again == record


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "[1, 2.5]"),
        ("b.json", '{"1": 2.5, "0": 1}'),
        ("c.csv", "shard,multiplier\n0,1\n1,2.5\n"),
        ("from-a-spreadsheet.csv", "\ufeff0,1\r\n1,2.5\r\n"),
        ("old.csv", "0,1\r1,2.5\r"),
        ("a.json", "\ufeff[1, 2.5]"),
    ],
)
def test_multipliers_are_read_from_json_and_csv(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert read_multipliers(tmp_path / name) == (1, 2.5)


@pytest.mark.parametrize(
    ("name", "text", "got"),
    [
        ("w.json", "[]", "no number"),
        ("w.json", "[1, -1]", "-1 for shard 1"),
        ("w.json", "[1, 0]", "0 for shard 1"),
        ("w.json", "[1, NaN]", "nan for shard 1"),
        ("w.json", "[1, true]", "True for shard 1"),
        ("w.json", "[1, null]", "None for shard 1"),
        ("w.json", f"[1, 1{'0' * 400}]", "for shard 1"),
        ("w.json", "[1e-320, 1e-320]", "1e-320 for shard 0"),
        ("w.json", '["x"]', "x for shard 0"),
        ("w.json", "[[1, 2]]", r"\[1, 2\] for shard 0"),
        ("w.json", '{"0": 1, "2": 1}', "nothing for shard 1, and one for shard 2"),
        ("w.json", '{"0": 1, "0": 2}', "shard 0 twice"),
        ("w.json", '{"0": 1, "a": 2}', "a for a shard"),
        ("w.json", '{"0": 1, "1000000000000": 2}', "nothing for shard 1, and one for shard 1000000000000"),
        ("w.json", "{", "Expecting property name"),
        ("w.json", "3", "3, which is neither a list nor an object"),
        ("w.csv", "shard,multiplier\n0,1\n0,2\n", "shard 0 twice"),
        ("w.csv", "0,1\n1\n", "1 in line 2"),
        ("w.csv", "0,1\n1,wide\n", "wide for shard 1"),
        ("w.csv", "", "no number"),
        ("w.csv", f"0,{'1' * 200_000}", "field larger than field limit"),
    ],
)
def test_unusable_multipliers_are_refused_by_the_first_that_is_none(
    tmp_path: Path, name: str, text: str, got: str
) -> None:
    (tmp_path / name).write_text(text)
    told = (
        rf"no width multipliers. Where: .*{name}. Expected: one number above .*for each shard.*Got: .*{got}.*Run next: "
    )
    with pytest.raises(InputError, match=told):
        read_multipliers(tmp_path / name)


def test_what_is_no_file_of_multipliers_is_refused(data: Path, tmp_path: Path) -> None:
    line = f"spectral-train --shard 0 --data {data} --run {tmp_path / 'run'} --model fc --epochs 1 --width-by"
    refused = command(f"{line} enrgy")
    told = "Got: enrgy\nRun next: the same command with --width-by energy"
    assert (refused.code, told in refused.err) == (2, True), refused.err
    for place, got in (("no.json", "Got: No such file or directory\n"), (".", " is not a regular file\n")):
        refused = command(f"{line} {tmp_path / place}")
        assert (refused.code, got in refused.err) == (2, True), refused.err
    (tmp_path / "w.json").write_text("[1, 2]")
    refused = command(f"{line} {tmp_path / 'w.json'}")
    assert (refused.code, "4 multipliers, one for each of the shards 0 to 3\nGot: 2: 1, 2\n" in refused.err) == (
        2,
        True,
    )
    assert not (tmp_path / "run").exists()


def test_what_has_no_width_or_another_number_of_shards_is_refused(data: Path) -> None:
    shard = open_shard(data, 0)
    with pytest.raises(InputError, match=f"timm:resnet18 has no width.*{next(iter(MODELS))}"):
        own_width(shard, Recipe(model="timm:resnet18"), "energy")
    with pytest.raises(InputError, match=r"another number of shards.*4.*2"):
        own_width(shard, QUICK, (1.0, 2.0))


@pytest.mark.parametrize(("by", "option"), [("energy", "--width-by energy"), ((3, 1, 1, 1), "--width-by and the file")])
def test_a_command_without_the_rule_of_the_width_that_is_there_is_told_of_it(
    data: Path, tmp_path: Path, by: WidthBy, option: str
) -> None:
    asked = TrainingRequest(data, override(QUICK, epochs=1), tmp_path, resources=CPU, width_by=by)
    train_branches(asked, 0)
    with pytest.raises(
        PlanMismatchError, match=f"model_options.width.*Run next: the same command with {option}"
    ) as error:
        train_branches(replace(asked, width_by="uniform"), 0)
    assert "delete" not in str(error.value)


@pytest.mark.parametrize("model", ["fc", "conv"])
def test_branches_of_one_neuron_are_divided_into_whole_ones(data: Path, model: str) -> None:
    recipe = override(Recipe(model=model), model_options={"width": 1})
    wide = own_width(open_shard(data, 0), recipe, (8, 2, 2, 1)).model_options["width"]
    narrow = own_width(open_shard(data, 3), recipe, (8, 2, 2, 1)).model_options["width"]
    assert (wide > narrow, narrow) == (True, 1)


@pytest.mark.parametrize(
    ("model", "width", "multipliers"), [("cyclemlp", 0.005, (8, 2, 2, 1)), ("resnet34", 0.1, (1, 1, 1, 1e-6))]
)
def test_a_width_that_cannot_be_divided_is_refused(
    data: Path, model: str, width: float, multipliers: tuple[float, ...]
) -> None:
    recipe = override(Recipe(model=model), model_options={"width": width})
    with pytest.raises(InputError, match=rf"cannot be made unequal.*Got: a width of {width} for .*Run next: .*larger"):
        own_width(open_shard(data, 0), recipe, multipliers)


def test_a_stack_has_one_width(data: Path, tmp_path: Path) -> None:
    refused = command(f"spectral-train --shard all --joint --data {data} --run {tmp_path} --width-by energy")
    assert (refused.code, "without --joint" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("by", "options"),
    [("energy", "--width-by energy"), ((3.0, 1.0, 1.0, 1.0), "--set width=11")],
)
def test_a_lost_branch_is_trained_again_as_it_was(data: Path, tmp_path: Path, by: WidthBy, options: str) -> None:
    paths, recipe = RunPaths(tmp_path), override(QUICK, epochs=1)
    train_branches(TrainingRequest(data, recipe, tmp_path, resources=CPU, width_by=by))
    weights = paths.branch(2).model.read_bytes()
    shutil.rmtree(paths.branch(2).root)
    with pytest.raises(InputError, match="branch 2 of 4 not trained") as error:
        read_branches(paths, data=data)
    parts = dict(error.value.parts)
    assert f" {options} --data {data} --run {tmp_path}" in parts["Run next"]
    assert "Got" not in parts, "nothing differs from branch to branch but by that rule"
    done(f"{parts['Run next']} --device cpu --workers 1")
    assert paths.branch(2).model.read_bytes() == weights
    assert len(read_branches(paths)) == 4


def test_the_data_set_of_a_lost_branch_is_found_where_it_is(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_shards(tmp_path / "spectral" / "another", dataset_id="f" * 16)
    train_branches(TrainingRequest(data, override(QUICK, epochs=1), Path("run"), resources=CPU), 0)
    command = train_command([read_network(RunPaths(Path("run")).branch(0))], 2, RunPaths(Path("run")))[0]
    assert "--data" not in command
    shutil.copytree(data, "spectral/right")
    command = train_command([read_network(RunPaths(Path("run")).branch(0))], 2, RunPaths(Path("run")))[0]
    assert " --data spectral/right --run run" in command
    done(f"{command} --device cpu --workers 1")
    shutil.rmtree("spectral/another")
    command = train_command([read_network(RunPaths(Path("run")).branch(0))], 2, RunPaths(Path("run")))[0]
    assert "--data" not in command, "it is the only one"


@pytest.mark.parametrize("odd", [0, 2])
def test_a_branch_of_another_width_than_the_rule_of_its_run_is_refused(data: Path, tmp_path: Path, odd: int) -> None:
    run, recipe = tmp_path / "run", override(QUICK, epochs=1)
    train_branches(TrainingRequest(data, recipe, run, resources=CPU, width_by="energy"))
    shutil.copytree(run, tmp_path / "whole")
    shutil.rmtree(RunPaths(run).branch(odd).root)
    train_branches(TrainingRequest(data, recipe, tmp_path / "other", resources=CPU), odd)
    shutil.copytree(RunPaths(tmp_path / "other").branch(odd).root, RunPaths(run).branch(odd).root)
    told = (
        f"branch {odd} and branch {1 if odd == 0 else 0} do not belong together: their widths.*width 16.*branch-0{odd}"
    )
    with pytest.raises(PlanMismatchError, match=told) as error:
        read_branches(RunPaths(run), data=data)
    with pytest.raises(PlanMismatchError, match="their widths follow no one rule"):
        collect(tmp_path / "collected", [run])
    assert len(read_branches(RunPaths(run), without=[odd])) == 3
    before, _, command = dict(error.value.parts)["Run next"].partition(", then ")
    assert before == f"delete {RunPaths(run).branch(odd).root}"
    shutil.rmtree(RunPaths(run).branch(odd).root)
    done(f"{command} --device cpu --workers 1")
    assert equal_weights(RunPaths(run).branch(odd), RunPaths(tmp_path / "whole").branch(odd))
    assert len(read_branches(RunPaths(run))) == 4


def test_a_branch_that_is_as_wide_by_another_rule_belongs_to_the_others(data: Path, tmp_path: Path) -> None:
    recipe = override(QUICK, epochs=1)
    records = train_branches(TrainingRequest(data, recipe, tmp_path, resources=CPU, width_by="energy"))
    widths = [record.plan.recipe.model_options["width"] for record in records]
    rule = records[0].width_rule
    assert rule is not None
    other = replace(rule, by="multipliers", widths=(widths[0] + 9, *widths[1:]))
    rewrite_record(tmp_path, 2, lambda record: replace(record, width_rule=other))
    assert len(read_branches(RunPaths(tmp_path))) == 4


def test_the_only_branch_with_a_rule_is_the_odd_one(data: Path, tmp_path: Path) -> None:
    recipe = override(QUICK, epochs=1)
    train_branches(TrainingRequest(data, recipe, tmp_path, resources=CPU))
    (tmp_path / "branch-01").rename(tmp_path / "before")
    train_branches(TrainingRequest(data, recipe, tmp_path / "other", resources=CPU, width_by="energy"), 1)
    (tmp_path / "other" / "branch-01").rename(tmp_path / "branch-01")
    with pytest.raises(PlanMismatchError, match=r"branch 1 and branch 0 .*width 16, as branches beside it") as error:
        read_branches(RunPaths(tmp_path), data=data)
    before, _, command = dict(error.value.parts)["Run next"].partition(", then ")
    assert before == f"delete {tmp_path / 'branch-01'}"
    shutil.rmtree(tmp_path / "branch-01")
    done(f"{command} --device cpu --workers 1")
    assert equal_weights(RunPaths(tmp_path).branch(1), NetworkPaths(tmp_path / "before"))


def test_records_of_earlier_releases_have_no_rule_and_are_read(data: Path, tmp_path: Path) -> None:
    train_branches(TrainingRequest(data, override(QUICK, epochs=1), tmp_path, resources=CPU, width_by="energy"))
    for shard in range(4):
        rewrite_record(tmp_path, shard, lambda record: replace(record, width_rule=None))
        assert "width_rule" not in RunPaths(tmp_path).branch(shard).record.read_text()
    assert len(read_branches(RunPaths(tmp_path))) == 4
    asked = TrainingRequest(data, override(QUICK, epochs=1), tmp_path, resources=CPU, width_by="energy")
    (again,) = train_branches(asked, 0)
    assert again.width_rule is None, "the finished branch is left as it is"


def test_a_rule_of_other_branches_is_refused(data: Path, tmp_path: Path) -> None:
    (record,) = train_branches(
        TrainingRequest(data, override(QUICK, epochs=1), tmp_path, resources=CPU, width_by="energy"), 0
    )
    assert record.width_rule is not None
    assert record.width_rule.widths[0] == record.plan.recipe.model_options["width"]
    with pytest.raises(SpectralError, match="widths of other branches"):
        replace(record, width_rule=replace(record.width_rule, widths=(1, 2)))
    with pytest.raises(SpectralError, match="widths of a network that has none"):
        replace(record, plan=replace(record.plan, recipe=replace(record.plan.recipe, model="timm:x")))
    with pytest.raises(SpectralError, match="a network of nothing"):
        replace(record, seconds=0.0)
    with pytest.raises(SpectralError, match="no widths"):
        replace(record.width_rule, widths=(1, 2, 3, -4))

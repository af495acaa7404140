from pathlib import Path

import pytest

from spectral_prep.errors import InputError
from spectral_prep.spectrum import SpectralSpec
from spectral_train.data.grouping import ShardChoice
from spectral_train.data.shard import open_shard, open_shards
from spectral_train.models import MODELS, parameter_count
from spectral_train.recipe.recipe import Recipe, override
from spectral_train.run.weights import shape_network
from spectral_train.training.branch import train_branches
from spectral_train.training.plan import branch_plan
from spectral_train.training.request import TrainingRequest, WidthBy
from spectral_train.training.widths import own_width, read_multipliers
from tests.support.commands import run as command
from tests.support.runs import CPU, QUICK
from tests.support.shards import Images, draw, make_shards


def smooth(rows: int, seed: int) -> Images:
    """Return images whose low frequencies are stronger than the others."""
    fine, coarse = draw(rows, size=16, channels=3, seed=seed), draw(rows, size=8, channels=3, seed=seed)
    pixels = coarse.pixels.repeat(2, axis=1).repeat(2, axis=2) // 2 + fine.pixels // 4
    return Images(pixels, fine.labels)


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
    [("a.json", "[1, 2.5]"), ("b.json", '{"1": 2.5, "0": 1}'), ("c.csv", "shard,multiplier\n0,1\n1,2.5\n")],
)
def test_multipliers_are_read_from_json_and_csv(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_multipliers(tmp_path / name) == (1, 2.5)


@pytest.mark.parametrize("text", ["[]", "[1, -1]", "[1e-320, 1e-320]", '{"0": 1, "2": 1}', "{", '["x"]', "3"])
def test_unusable_multipliers_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "widths.json").write_text(text)
    with pytest.raises(InputError, match=r"width multipliers.*widths\.json"):
        read_multipliers(tmp_path / "widths.json")


def test_what_has_no_width_or_another_number_of_shards_is_refused(data: Path) -> None:
    shard = open_shard(data, 0)
    with pytest.raises(InputError, match=f"timm:resnet18 has no width.*{next(iter(MODELS))}"):
        own_width(shard, Recipe(model="timm:resnet18"), "energy")
    with pytest.raises(InputError, match=r"another number of shards.*4.*2"):
        own_width(shard, QUICK, (1.0, 2.0))


def test_a_stack_has_one_width(data: Path, tmp_path: Path) -> None:
    done = command(f"spectral-train --shard all --joint --data {data} --run {tmp_path} --width-by energy")
    assert (done.code, "without --joint" in done.err) == (2, True)
    missing = command(f"spectral-train --shard 0 --data {data} --run {tmp_path} --width-by {tmp_path}/no.json")
    assert (missing.code, "cannot read the width multipliers" in missing.err) == (2, True)

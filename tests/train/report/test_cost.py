import functools
from dataclasses import replace

import pytest

from spectral_train.models import MODELS
from spectral_train.report.cost import Costs, flops, widest_layer
from spectral_train.run.paths import RunPaths
from spectral_train.run.record import read_network
from spectral_train.training.baseline import train_baseline
from tests.support.runs import make_run, on_cpu
from tests.support.shards import make_shards


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    """Four branches of 16 -> 16 -> 3 neurons, and a baseline of 64 -> 64 -> 3."""
    root = tmp_path_factory.mktemp("run")
    data = make_shards(root / "data")
    train_baseline(on_cpu(data, make_run(data, root / "run")))
    return RunPaths(root / "run")


def test_operations_are_two_a_weight_of_a_linear_layer(run: RunPaths) -> None:
    branch, baseline = read_network(run.branch(0)).plan, read_network(run.baseline).plan
    assert flops(branch) == 2 * (16 * 16 + 16 * 3)
    assert flops(baseline) == 2 * (64 * 64 + 64 * 3)
    assert widest_layer(branch) == 16


def test_the_ratios_are_those_of_the_paper(run: RunPaths) -> None:
    records = [
        replace(read_network(run.branch(k)), seconds=seconds, held_out_loss=loss)
        for k, (seconds, loss) in enumerate([(1.0, 0.5), (4.0, 0.4), (2.0, 0.6), (3.0, 0.7)])
    ]
    baseline = replace(read_network(run.baseline), seconds=6.0)
    costs = Costs.of(records, baseline)
    branch, whole = 4 * (17 * 16 + 17 * 3), 4 * (65 * 64 + 65 * 3)
    assert costs.best == 1
    assert costs.compression == pytest.approx((whole / (4 * branch), whole / branch))
    assert costs.computation == pytest.approx((4256 * 2 / (4 * 304 * 2), 4288 / 304), rel=0.02)
    assert (costs.speedup, costs.total_speedup) == (6 / 4, 6 / 10)
    alone = Costs.of(records, None)
    assert (alone.compression, alone.computation, alone.speedup, alone.total_speedup) == (None,) * 4


@pytest.mark.parametrize("model", MODELS)
def test_every_network_is_counted_without_memory(run: RunPaths, model: str) -> None:
    plan = read_network(run.branch(0)).plan
    recipe = replace(plan.recipe, model=model, model_options={})
    if model == "tnn":  # the conventional network of grey images
        shape, one = (1, 28, 28), (1.0,)
        whole = replace(plan, recipe=recipe, shard=None, height=28, width=28, mean=one, std=one, input_shape=shape)
    else:
        maps, twelve, every = (12, 56, 56), (1.0,) * 12, (0, 1, 2, 3)
        colour = functools.partial(replace, height=112, width=112, channels=3, input_shape=maps)
        whole = colour(plan, recipe=recipe, shards=1, spectrals=every, mean=twelve, std=twelve)
    assert flops(whole) > 1e4

import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from spectral_prep.errors import CorruptFileError, InputError, PlanMismatchError
from spectral_prep.system.watch import Step, watched
from spectral_train.data.grouping import ShardChoice
from spectral_train.device import Resources
from spectral_train.run.commands import run_commands
from spectral_train.run.paths import RunPaths
from spectral_train.run.rates import Rate, RatesRecord, read_rates
from spectral_train.run.record import read_network
from spectral_train.training import network, processes, rates
from spectral_train.training.baseline import train_baseline
from spectral_train.training.branch import train_branches
from spectral_train.training.fit import Training
from spectral_train.training.network import TrainingRows
from spectral_train.training.request import TrainingRequest
from tests.support.commands import done
from tests.support.runs import QUICK, equal_weights
from tests.support.shards import draw, make_shards

RECIPE = replace(QUICK, lr=1e-4, epochs=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("data"), train=draw(200))


def request(data: Path, run: Path, lr: float = RECIPE.lr) -> TrainingRequest:
    return TrainingRequest(data, replace(RECIPE, lr=lr), run, resources=Resources("cpu", workers=1), find_rate=True)


def recorded(run: Path, shard: int) -> RatesRecord:
    paths = RunPaths(run).branch(shard)
    plan = read_network(paths).plan
    return read_rates(replace(plan, recipe=replace(plan.recipe, lr=RECIPE.lr, epochs=1)), paths)


def test_each_branch_trains_at_the_best_rate_that_was_tried(data: Path, tmp_path: Path) -> None:
    for record in train_branches(request(data, tmp_path)):
        tried = recorded(tmp_path, record.plan.shard or 0)
        assert [rate.lr for rate in tried.rates] == [RECIPE.lr, 2 * RECIPE.lr, 4 * RECIPE.lr]
        lowest = min(tried.rates, key=lambda rate: rate.held_out_loss or 0)
        assert record.plan.recipe.lr == lowest.lr > RECIPE.lr  # far too low


def test_a_branch_alone_finds_what_all_together_find(data: Path, tmp_path: Path) -> None:
    train_branches(request(data, tmp_path / "all"))
    (alone,) = train_branches(request(data, tmp_path / "one"), 2)
    assert alone == replace(
        read_network(RunPaths(tmp_path / "all").branch(2)), seconds=alone.seconds, files=alone.files
    )


def test_a_sweep_that_was_stopped_goes_on(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried, trial = [], rates._trial

    def stopped(training: Training, read: TrainingRows) -> Rate:
        tried.append(training.recipe.lr)
        if len(tried) == 2:
            raise KeyboardInterrupt
        return trial(training, read)

    monkeypatch.setattr(rates, "_trial", stopped)
    with pytest.raises(KeyboardInterrupt):
        train_branches(request(data, tmp_path), 1)
    train_branches(request(data, tmp_path), 1)
    assert tried == [RECIPE.lr * factor for factor in (1, 2, 2, 4)]
    train_branches(request(data, tmp_path), 1)
    assert len(tried) == 4


def searched(losses: Mapping[float, float | None]) -> list[float]:
    """Return the factors that a search tries where these are their losses."""
    tried: dict[float, float | None] = {}
    while (factor := rates.next_factor(tried)) is not None:
        assert factor not in tried
        tried[factor] = losses[factor]
    return list(tried)


def test_a_search_ends_at_the_lowest_of_one_valley_within_four_trials() -> None:
    longest = 0
    for order in itertools.permutations(range(5)):
        losses = dict(zip(rates.FACTORS, map(float, order), strict=True))
        tried = searched(losses)
        longest = max(longest, len(tried))
        found = min(tried, key=losses.__getitem__)
        place = rates.FACTORS.index(found)
        assert all(
            losses[found] < losses[factor] for factor in (*rates.FACTORS[:place][-1:], *rates.FACTORS[place + 1 :][:1])
        )
    assert longest == rates.MOST_TRIALS


def test_a_search_goes_to_smaller_rates_where_the_first_diverges() -> None:
    diverging = dict.fromkeys(rates.FACTORS, None)
    assert searched(diverging) == [1, 0.5, 0.25]
    assert searched({**diverging, 0.25: 2.0, 0.5: 1.0}) == [1, 0.5, 0.25]
    assert searched({**diverging, 1.0: 1.0, 0.5: 1.0, 0.25: 1.0}) == [1, 2, 0.5, 0.25]


@pytest.mark.parametrize("tried", [1, 2, 3, 4])
def test_a_sweep_that_an_earlier_release_began_from_the_smallest_goes_on_to_the_lowest_of_a_valley(tried: int) -> None:
    for lowest in range(5):
        losses: dict[float, float | None] = {factor: abs(i - lowest) for i, factor in enumerate(rates.FACTORS)}
        found = dict(list(losses.items())[:tried])
        while (factor := rates.next_factor(found)) is not None:
            found[factor] = losses[factor]
        assert {1.0, rates.FACTORS[lowest]} <= set(found)


def test_a_sweep_of_an_earlier_release_with_all_five_rates_is_at_its_end() -> None:
    for order in itertools.permutations(range(5)):
        assert rates.next_factor(dict(zip(rates.FACTORS, map(float, order), strict=True))) is None


def test_a_sweep_of_another_recipe_is_refused_and_nothing_has_to_be_deleted(data: Path, tmp_path: Path) -> None:
    first = train_branches(request(data, tmp_path), 1)
    refused = r"tried here with another plan.*recipe\.lr.*Run next: the same command with another --run, or with"
    with pytest.raises(PlanMismatchError, match=refused) as error:
        train_branches(request(data, tmp_path, lr=1e-3), 1)
    assert "delete" not in str(error.value)
    assert train_branches(request(data, tmp_path), 1) == first


def test_a_damaged_record_of_rates_says_what_to_run_and_is_as_none_in_a_report(data: Path, tmp_path: Path) -> None:
    first, paths = train_branches(request(data, tmp_path), 1), RunPaths(tmp_path).branch(1)
    lr, before = first[0].plan.recipe.lr, paths.rates_record.read_text()
    paths.rates_record.write_text("{")
    advice = rf"unreadable rates record.*Run next: delete {paths.rates_record}, then the same command"
    with pytest.raises(CorruptFileError, match=rf"{advice} with --lr {lr} in the place of --find-rate"):
        train_branches(request(data, tmp_path), 1)
    assert "--find-rate" not in run_commands(first, RunPaths(tmp_path)).branches
    paths.rates_record.unlink()
    asked = request(data, tmp_path)
    assert train_branches(replace(asked, recipe=replace(RECIPE, lr=lr), find_rate=False), 1) == first
    paths.rates_record.write_text(before)
    assert "--find-rate" in run_commands(first, RunPaths(tmp_path)).branches


def test_a_damaged_record_of_rates_before_any_network_is_deleted_and_the_same_command_goes_on(
    data: Path, tmp_path: Path
) -> None:
    paths = RunPaths(tmp_path).branch(1)
    paths.root.mkdir()
    paths.rates_record.write_text("{")
    with pytest.raises(CorruptFileError, match=rf"Run next: delete {paths.rates_record}, then the same command$"):
        train_branches(request(data, tmp_path), 1)
    paths.rates_record.unlink()
    assert train_branches(request(data, tmp_path), 1)


@pytest.mark.parametrize("recorded", [True, False])
def test_a_finished_network_of_other_options_is_left_as_it_is_before_any_trial(
    data: Path, tmp_path: Path, recorded: bool
) -> None:
    asked = request(data, tmp_path)
    first, paths = train_branches(replace(asked, find_rate=recorded), 1), RunPaths(tmp_path).branch(1)
    paths.rates_record.unlink(missing_ok=True)  # the advice of earlier releases
    with pytest.raises(PlanMismatchError, match=r"other options.*recipe\.epochs: 2 there, 20 here") as error:
        train_branches(replace(asked, recipe=replace(RECIPE, epochs=20)), 1)
    assert "delete" not in str(error.value)
    lr = first[0].plan.recipe.lr
    with pytest.raises(PlanMismatchError, match=rf"no search found.*with --lr {lr} in the place of --find-rate"):
        train_branches(asked, 1)
    assert not paths.rates_record.exists()
    assert train_branches(replace(asked, recipe=replace(RECIPE, lr=lr), find_rate=False), 1) == first


def test_a_network_that_was_begun_at_another_rate_is_left_as_it_is(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*given: object) -> None:
        raise KeyboardInterrupt

    asked, paths = request(data, tmp_path), RunPaths(tmp_path).branch(1)
    monkeypatch.setattr(network, "write_network", stopped)
    with pytest.raises(KeyboardInterrupt):
        train_branches(replace(asked, find_rate=False), 1)
    before = paths.checkpoint.read_bytes()
    with pytest.raises(PlanMismatchError, match=rf"no search found.*--lr {RECIPE.lr} in the place"):
        train_branches(asked, 1)
    assert not paths.rates_record.exists()
    assert paths.checkpoint.read_bytes() == before


@pytest.mark.parametrize("workers", [1, 2])
def test_trials_say_their_rate_and_each_branch_what_it_found(
    data: Path, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "usable_cpus", lambda: 2)
    told: list[Step] = []
    lines: list[str] = []
    asked = replace(request(data, tmp_path), resources=Resources("cpu", workers=workers))
    with watched(told.append):
        records = train_branches(asked, log=lines.append)
    names = {step.name for step in told}
    for record in records:
        own, lr = record.plan.name, record.plan.recipe.lr
        assert names >= {own, *(f"{own}, rate {RECIPE.lr * factor:g}" for factor in (1, 2, 4))}
        assert [line for line in lines if line.startswith(own) and f"learning rate {lr:g}" in line]
    if workers == 1:
        assert any(line.startswith(f"branch 1, rate {RECIPE.lr:g}: epoch 1/1: ") for line in lines)


def test_a_command_without_the_search_of_the_network_that_is_there_is_told_of_it(data: Path, tmp_path: Path) -> None:
    (found,) = train_branches(request(data, tmp_path), 1)
    with pytest.raises(PlanMismatchError, match=r"recipe.lr: .* with --find-rate, which chose") as error:
        train_branches(replace(request(data, tmp_path), find_rate=False), 1)
    assert "delete" not in str(error.value)
    other = replace(RECIPE, batch_size=16)
    with pytest.raises(PlanMismatchError, match="the same command with another --run, or delete"):
        train_branches(replace(request(data, tmp_path), recipe=other, find_rate=False), 1)
    assert train_branches(request(data, tmp_path), 1) == (found,)


def test_a_run_tells_the_command_that_trained_it(data: Path, tmp_path: Path) -> None:
    choice = ShardChoice(2, "balanced", (0,))
    records = train_branches(replace(request(data, tmp_path / "one"), choice=choice, width_by="energy"))
    commands = run_commands(records, RunPaths(tmp_path / "one"))
    done(f"{commands.branches} --data {data} --run {tmp_path / 'two'} --device cpu --workers 1")
    for shard in range(2):
        one, other = (RunPaths(tmp_path / name).branch(shard) for name in ("one", "two"))
        assert equal_weights(one, other)
    assert commands.baseline.endswith("--find-rate")
    assert not {"--shards", "--common", "--width-by"} & set(commands.baseline.split())


def test_a_trial_that_diverges_is_said_and_its_bar_ends(data: Path, tmp_path: Path) -> None:
    told: list[Step] = []
    lines: list[str] = []
    with watched(told.append), pytest.raises(InputError):
        train_branches(request(data, tmp_path, lr=1e30), 1, lines.append)
    assert "branch 1, rate 2.5e+29: the loss is not finite; this rate is out" in lines
    assert {step.name for step in told if "rate" in step.name} == {step.name for step in told if step.ended}


def test_a_rate_that_diverges_is_out(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"branch 1 diverges at every learning rate.*--lr"):
        train_branches(request(data, tmp_path, lr=1e30), 1)
    written = json.loads(RunPaths(tmp_path).branch(1).rates_record.read_text())
    assert [rate["held_out_loss"] for rate in written["rates"]] == [None] * 3


def test_the_conventional_network_finds_its_rate_alike(data: Path, tmp_path: Path) -> None:
    assert train_baseline(request(data, tmp_path)).plan.recipe.lr > RECIPE.lr

import json
from dataclasses import replace
from pathlib import Path

import pytest

from spectral_train.models import parameter_count
from spectral_train.recipe.recipe import Recipe, override
from spectral_train.run.weights import shape_network
from spectral_train.training.baseline import train_baseline
from spectral_train.training.branch import train_branches
from spectral_train.training.dry_run import dry_run, operations_of, text
from spectral_train.training.gpus import EFFICIENCY, GPUS
from tests.support.commands import run as command
from tests.support.runs import QUICK, on_cpu
from tests.support.shards import draw, make_shards


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("data"), train=draw(200))


def test_it_says_what_the_training_then_records(data: Path, tmp_path: Path) -> None:
    request = on_cpu(data, tmp_path / "run", override(QUICK, epochs=1))
    (estimate,), (whole,) = dry_run(request, 1), dry_run(request, baseline=True)
    assert not (tmp_path / "run").exists()
    record, baseline = train_branches(request, 1)[0], train_baseline(request)
    assert (estimate.parameters, whole.parameters) == (record.parameters, baseline.parameters)
    assert (estimate.rows, whole.rows) == (record.rows["training"], baseline.rows["training"])


def test_operations_are_those_of_a_forward_and_a_backward_pass(data: Path, tmp_path: Path) -> None:
    (record,) = train_branches(on_cpu(data, tmp_path, override(QUICK, epochs=1)), 0)
    weights = 16 * 16 + 16 * 3  # two linear layers; the input needs no gradient
    assert operations_of(record.plan) == 2 * (3 * weights - 16 * 16)
    assert parameter_count(shape_network(record.plan)) == weights + 16 + 3


def test_hours_follow_from_operations_and_the_gpu(data: Path, tmp_path: Path) -> None:
    request = on_cpu(data, tmp_path, Recipe(model="conv", precision="bfloat16"))
    (estimate,) = dry_run(request, 0, gpu=GPUS["a100"])
    seconds = estimate.operations_an_epoch * 40 / (312e12 * EFFICIENCY)
    assert estimate.hours == pytest.approx(seconds / 3600)
    assert estimate.memory > estimate.rows_bytes == 200 * 16


@pytest.mark.parametrize("baseline", [False, True])
def test_the_search_of_the_rate_is_counted_as_it_is_trained(data: Path, tmp_path: Path, baseline: bool) -> None:
    asked = replace(on_cpu(data, tmp_path, override(QUICK, epochs=20)), find_rate=True)
    gpu = GPUS["a100"]
    (estimate,) = dry_run(asked, 1, baseline=baseline, gpu=gpu)
    lines: list[str] = []
    if baseline:
        train_baseline(asked, lines.append)
    else:
        train_branches(asked, 1, lines.append)
    trained = sum(": epoch " in line for line in lines)
    in_trials = sum(", rate " in line and ": epoch " in line for line in lines)
    assert (trained, in_trials) == (26, 6)  # the rate is too low: only larger ones are tried
    assert (estimate.epochs, estimate.search_epochs) == (28, 8)
    (bare,) = dry_run(replace(asked, find_rate=False), 1, baseline=baseline, gpu=gpu)
    assert (bare.epochs, bare.search_epochs, bare.operations) == (20, 0, 20 * estimate.operations_an_epoch)
    assert estimate.hours == pytest.approx(1.4 * (bare.hours or 0))
    said = text([estimate], gpu)
    assert (
        f"; at most 28 epochs (with 8 of the search of the rate), {estimate.operations:.3g} operations in all" in said
    )
    assert "search" not in text([bare], gpu)


def test_only_records_are_read(data: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    for folder in data.glob("spectral-*"):
        (bare / folder.name).mkdir(parents=True)
        (bare / folder.name / "spectral.json").write_bytes((folder / "spectral.json").read_bytes())
    line = f"spectral-train --shard all --dry-run --data {bare} --run {tmp_path}/run --model conv"
    done = command(f"{line} --gpu h100")
    assert done.code == 0, done.err
    assert [each.partition(":")[0] for each in done.out.splitlines()[:5]] == [*(f"branch {k}" for k in range(4)), "all"]
    assert "Hours are an estimate: h100 at 30 % of its peak" in done.out
    found = json.loads(command(f"{line} --json --gpu-tflops 10").out)
    assert len(found["networks"]) == 4
    assert all(each["hours"] > 0 for each in found["networks"])


def test_a_gpu_is_for_a_dry_run(data: Path, tmp_path: Path) -> None:
    done = command(f"spectral-train --shard 0 --data {data} --run {tmp_path} --gpu h100")
    assert (done.code, "is for --dry-run" in done.err) == (2, True)
    both = command(f"spectral-train --shard 0 --data {data} --dry-run --gpu h100 --gpu-tflops 10")
    assert (both.code, "give --gpu or --gpu-tflops" in both.err) == (2, True), both.err

"""A network that cannot be trained is refused in words, before a row is read or a folder made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from spectral_prep.errors import InputError
from spectral_train.recipe.recipe import Recipe
from spectral_train.training.branch import train_branches
from spectral_train.training.request import TrainingRequest
from tests.support.commands import run as command
from tests.support.runs import CPU, QUICK
from tests.support.shards import draw, make_shards

TIMM = replace(QUICK, model="timm:resnet18", model_options={}, epochs=1)


def train(root: Path, recipe: Recipe, rows: int, *, find_rate: bool = False) -> None:
    data = make_shards(root / "data", train=draw(rows, 16, seed=3), test=draw(4, 16))
    request = TrainingRequest(data, recipe, root / "run", resources=CPU, find_rate=find_rate)
    train_branches(request, 1)


@pytest.mark.parametrize("find_rate", [False, True])
@pytest.mark.parametrize(
    ("rows", "changes", "words"),
    [
        (20, {"batch_size": 1}, "Got: a batch size of 1.*--batch-size 2 or more"),
        (3, {"holdout": 0.6}, "Got: 1 row to train on"),
    ],
)
def test_batch_normalisation_of_one_row_is_refused(
    tmp_path: Path, rows: int, changes: dict[str, float], words: str, find_rate: bool
) -> None:
    with pytest.raises(InputError, match=f"timm:resnet18 cannot train on one row at a time.*{words}"):
        train(tmp_path, replace(TIMM, **changes), rows, find_rate=find_rate)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_a_network_that_normalises_no_batch_trains_on_one_row(tmp_path: Path) -> None:
    train(tmp_path, replace(QUICK, batch_size=1, epochs=1), 20)


def test_a_last_batch_of_one_row_is_left_out(tmp_path: Path) -> None:
    train(tmp_path, replace(TIMM, batch_size=5, holdout=0.01), 17)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--set width=1e18", "layers are too large. Got: depth=2, width=1e+18"),
        ("--set depth=1e9", "at most 1000 layers"),
        ("--set noise=1e300", "0 to 1000"),
        ("--gpu-tflops nan --dry-run", "--gpu-tflops is a number"),
    ],
)
def test_a_size_beyond_any_use_is_refused(tmp_path: Path, options: str, told: str) -> None:
    data, run = make_shards(tmp_path / "data", train=draw(20, 16), test=draw(4, 16)), tmp_path / "run"
    asked = f"--data {data} --run {run} --model fc --set depth=2 --epochs 1"
    done = command(f"spectral-train --shard 0 {asked} {options}")
    assert done.code == 2
    assert told in done.err.replace("\n", ". ")
    assert command(f"spectral-train --shard {'9' * 5000} {asked}").code == 2
    assert not run.exists()

"""What can be chosen is listed whole, and what cannot is refused with what is nearest, before a row is read."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from spectral_train.models import AUTO, MODELS
from spectral_train.recipe.recipe import Recipe
from spectral_train.recipe.recipes import RECIPES
from spectral_train.recipe.settings import MODEL_SETTINGS, SETTINGS
from tests.support.commands import run
from tests.support.shards import make_shards


def test_every_field_of_a_recipe_and_every_option_of_a_model_has_a_meaning() -> None:
    assert set(SETTINGS) == {each.name for each in dataclasses.fields(Recipe)} - {"name", "model_options"}
    assert set(MODEL_SETTINGS) == {name for model in MODELS.values() for name in model.branch}


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("--list-recipes", [*RECIPES]),
        ("--list-models", [AUTO, *MODELS, "timm:NAME"]),
        ("--list-settings", [*SETTINGS, *MODEL_SETTINGS]),
    ],
)
def test_lists_name_everything_for_readers_and_machines(option: str, names: list[str]) -> None:
    told = run(f"spectral-train {option}")
    assert [line.split()[0] for line in told.out.splitlines()] == names, told.err
    assert [next(iter(row.values())) for row in json.loads(run(f"spectral-train {option} --json").out)] == names


def test_a_setting_is_listed_with_its_default_its_values_and_its_meaning() -> None:
    lines = run("spectral-train --list-settings").out.splitlines()
    (ema,) = (line for line in lines if line.startswith("ema "))
    assert "default: 0.0; values: 0 to less than 1; meaning: decay of the moving average" in ema
    (depth,) = (line for line in lines if line.startswith("depth "))
    assert "fc=8, conv=10, tnn=8" in depth


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--recipe poster-mnst", "Expected: one of poster-mnist, .*--list-recipes"),
        ("--model resnet43", "Expected: one of resnet34, .*--list-models"),
        ("--model timm:resnet19", "timm:resnet18"),
        ("--set momentm=0.8", "NAME one of momentum, .*--list-settings"),
        ("--model fc --set depht=3", "NAME one of depth, "),
        ("--model fc --set last_map=3", "model fc has no such option.*--list-models"),
        ("--model fc --set depth=0", "depth ≥ 1"),
        ("--model vgg16 --set width=-1", "unusable width of model vgg16.*more than 0"),
        ("--set ema=2", "unusable ema.*0 to less than 1"),
    ],
)
def test_what_is_none_is_refused_before_any_row_is_read(tmp_path: Path, options: str, words: str) -> None:
    data = make_shards(tmp_path / "data")
    for part in data.rglob("train/x/c/*/*/*/*"):
        part.unlink()  # whoever reads rows finds none
    told = run(f"spectral-train --shard 1 --data {data} --run {tmp_path / 'run'} {options}")
    assert told.code == 2, told
    assert re.search(words, told.err, re.DOTALL), told.err
    assert not (tmp_path / "run").exists()

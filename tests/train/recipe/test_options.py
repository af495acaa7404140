import shlex
from dataclasses import replace
from pathlib import Path
from typing import get_args

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from spectral_prep.errors import InputError
from spectral_train.commands import train_command
from spectral_train.recipe.options import OPTIONS, command_options, parse_settings
from spectral_train.recipe.recipe import Recipe
from spectral_train.recipe.recipes import RECIPES, named
from spectral_train.recipe.settings import Optimizer
from spectral_train.run.paths import RunPaths
from spectral_train.run.record import read_network
from tests.support.commands import run
from tests.support.shards import make_shards

CHANGES = {
    "model": st.sampled_from(["fc", "conv", "timm:resnet18"]),
    "optimizer": st.sampled_from(get_args(Optimizer)),
    "lr": st.floats(1e-6, 1),
    "batch_size": st.integers(1, 512),
    "epochs": st.integers(1, 99),
    "seed": st.integers(0, 9),
    "warmup": st.floats(0, 0.5),
    "clip": st.floats(0, 10),
    "patience": st.integers(0, 9),
    "precision": st.sampled_from(["bfloat16", "float32"]),
    "channels_last": st.booleans(),
    "model_options": st.fixed_dictionaries({}, optional={"width": st.integers(1, 99)}),
}


@given(st.sampled_from(sorted(RECIPES)), st.fixed_dictionaries({}, optional=CHANGES))
def test_the_options_of_a_recipe_give_it_again(name: str, changes: dict[str, object]) -> None:
    recipe = named(name, **changes)
    again = {}

    @click.command()
    @click.pass_context
    def command(context: click.Context, /, recipe: str, settings: tuple[str, ...], **options: object) -> None:
        again["recipe"] = named(recipe, **{key: options[key] for key in OPTIONS}, **parse_settings(settings))

    command.params = train_command.params
    CliRunner().invoke(command, shlex.split(command_options(recipe)), catch_exceptions=False, standalone_mode=False)
    assert again["recipe"] == recipe


def test_what_a_record_says_is_quoted_for_the_shell() -> None:
    """A run may come from anybody, and its command is printed to be run."""
    recipe = replace(Recipe(), name="$(touch a)", model="timm:$(touch b)")
    assert shlex.split(command_options(recipe)) == ["--recipe", "$(touch a)", "--model", "timm:$(touch b)"]


def test_settings_are_parsed_by_the_type_of_the_field() -> None:
    parsed = parse_settings(["milestones=0.5,0.75", "schedule=step", "patience=3", "channels_last=false", "depth=4"])
    assert parsed == {
        "milestones": (0.5, 0.75),
        "schedule": "step",
        "patience": 3,
        "channels_last": False,
        "model_options": {"depth": 4},
    }


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("dropout=1", "one of holdout,.*channels_last"),
        ("name=mine", "no such setting"),
        ("model_options=1", "no such setting"),
        ("ema", "NAME=VALUE"),
        ("ema=high", "unusable ema"),
        ("patience=1.5", "unusable patience"),
        ("channels_last=maybe", "unusable channels_last. Expected: true, false. Got: maybe"),
        ("width=wide", "unusable width"),
        ("full_stages=x", "unusable full_stages.*1 to 3.*Run next: spectral-train --list-settings"),
    ],
)
def test_a_setting_that_is_none_is_refused(setting: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_settings([setting])


def test_a_setting_beside_its_option_is_refused() -> None:
    refused = run("spectral-train --shard 0 --batch-size 8 --set batch_size=16")
    assert (refused.code, "--batch-size and --set batch_size=… are the same" in refused.err) == (2, True)


def test_a_setting_may_be_what_the_command_line_has_an_option_for(tmp_path: Path) -> None:
    data = make_shards(tmp_path / "data")
    finished = run(f"spectral-train --shard 0 --data {data} --run {tmp_path / 'run'} --set epochs=1 --set lr=0.5")
    assert finished.code == 0, finished.err
    recipe = read_network(RunPaths(tmp_path / "run").branch(0)).plan.recipe
    assert (recipe.epochs, recipe.lr) == (1, 0.5)

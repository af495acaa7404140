import math
from pathlib import Path
from typing import get_args

import click
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from spectral_prep.errors import InputError
from spectral_prep.store.record_file import decoded, plain
from spectral_train.commands import train_command
from spectral_train.models import MODELS
from spectral_train.recipe.optimizers import OPTIMIZERS
from spectral_train.recipe.recipe import (
    OPTIONS,
    RECIPES,
    Optimizer,
    Recipe,
    Schedule,
    command_options,
    named,
    override,
    parse_settings,
    resolve,
)
from spectral_train.recipe.schedules import SCHEDULES, factor


@pytest.mark.parametrize(
    ("name", "model", "options", "optimizer", "lr", "batch_size"),
    [
        ("poster-mnist", "fc", {"depth": 8, "width": 49}, "adam", 1e-3, 128),
        ("poster-cifar10", "conv", {"depth": 10}, "adam", 1e-3, 128),
        ("paper-fc", "fc", {"depth": 8, "width": 28}, "adam", 0.01, 64),
        ("paper-tnn-mnist", "tnn", {"depth": 8, "width": 28}, "adam", 0.01, 64),
        ("paper-conv-cifar10", "conv", {"depth": 8}, "adam", 0.01, 64),
        *[(f"paper-{model}-imagenet", model, {}, "sgd", 0.01, 128) for model in list(MODELS)[3:]],
    ],
)
def test_the_named_recipes_hold_what_the_papers_say(
    name: str, model: str, options: dict[str, float], optimizer: str, lr: float, batch_size: int
) -> None:
    recipe = RECIPES[name]
    assert (recipe.model, recipe.optimizer, recipe.lr, recipe.batch_size) == (model, optimizer, lr, batch_size)
    assert options.items() <= recipe.model_options.items()


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_recipe_survives_json(name: str) -> None:
    assert decoded(Recipe, plain(RECIPES[name]), Path(), "it") == RECIPES[name]


def test_only_what_was_given_is_overridden() -> None:
    changed = override(RECIPES["poster-mnist"], epochs=3, lr=None, seed=0)
    assert changed.epochs == 3
    assert changed.lr == RECIPES["poster-mnist"].lr


def test_another_model_drops_the_options_of_the_former() -> None:
    assert override(RECIPES["poster-cifar10"], model="fc").model_options == {}
    assert override(RECIPES["poster-cifar10"], model="conv").model_options == {"depth": 10, "width": 32}
    assert override(RECIPES["poster-cifar10"], model_options={"width": 8}).model_options == {"depth": 10, "width": 8}


def test_auto_is_resolved_by_the_shape_of_the_input() -> None:
    assert resolve(Recipe(), (1, 7, 7)).model == "fc"
    assert resolve(Recipe(), (3, 16, 16)).model == "conv"


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
    CliRunner().invoke(command, command_options(recipe).split(), catch_exceptions=False, standalone_mode=False)
    assert again["recipe"] == recipe


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
        ("dropout=1", "channels_last.*warmup"),
        ("name=mine", "no such setting"),
        ("model_options=1", "no such setting"),
        ("ema", "NAME=VALUE"),
        ("ema=high", "unusable ema"),
        ("patience=1.5", "unusable patience"),
        ("channels_last=maybe", "unusable channels_last.*'false'"),
        ("width=wide", "unusable width"),
    ],
)
def test_a_setting_that_is_none_is_refused(setting: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_settings([setting])


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": "x"},
        {"optimizer": "x"},
        {"schedule": "x"},
        {"precision": "x"},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"momentum": 1.0},
        {"weight_decay": -1.0},
        {"batch_size": 0},
        {"epochs": 0},
        {"warmup": 1.0},
        {"warmup": 0.1, "schedule": "one-cycle"},
        {"milestones": (0.5,)},
        {"milestones": (0.5, 0.4), "schedule": "step"},
        {"milestones": (1.0,), "schedule": "step"},
        {"milestones": (), "schedule": "step"},
        {"gamma": 0.0},
        {"clip": -1.0},
        {"ema": 1.0},
        {"patience": -1},
        {"noise": -0.1},
        {"label_smoothing": 1.0},
        {"holdout": 0.0},
        {"holdout": 1.0},
        {"seed": -1},
        {"seed": 2**32},
        {"unknown": 1},
    ],
    ids=str,
)
def test_what_cannot_be_used_is_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        override(Recipe(), **wrong)


def test_an_unknown_recipe_is_refused_with_what_there_is() -> None:
    with pytest.raises(InputError, match="poster-mnist"):
        named("poster-imagenet")


def test_every_name_has_its_optimizer_and_its_schedule() -> None:
    assert set(OPTIMIZERS) == set(get_args(Optimizer))
    assert set(SCHEDULES) == set(get_args(Schedule))


def curve(*at: float, **fields: object) -> list[float]:
    return [factor(override(Recipe(), **fields), progress) for progress in at]


def test_schedules() -> None:
    assert curve(0, 0.5, 1, schedule="constant") == [1, 1, 1]
    assert curve(0, 0.5, 1, schedule="cosine") == pytest.approx([1, 0.5, 0])
    assert curve(0, 0.05, 0.1, 0.55, 1, schedule="cosine", warmup=0.1) == pytest.approx([0.01, 0.505, 1, 0.5, 0])
    steps = curve(0, 0.49, 0.5, 0.75, 1, schedule="step", milestones=(0.5, 0.75), gamma=0.2)
    assert steps == pytest.approx([1, 1, 0.2, 0.04, 0.04])
    assert curve(0.1, 0.2, schedule="step", milestones=(0.5,), warmup=0.2) == pytest.approx([0.505, 1])


def test_one_cycle_is_torchs() -> None:
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1, total_steps=101, cycle_momentum=False)
    for step in range(100):
        peak = 0.3 * 101 - 1  # torch counts to the last step, and its peak comes one step early
        progress = 0.3 * step / peak if step < peak else 0.3 + 0.7 * (step - peak) / (100 - peak)
        assert curve(progress, schedule="one-cycle") == pytest.approx(theirs.get_last_lr())
        optimizer.step()
        theirs.step()
    assert curve(1, schedule="one-cycle") == pytest.approx([1 / 25e4])
    assert math.isclose(max(curve(*(step / 100 for step in range(101)), schedule="one-cycle")), 1)

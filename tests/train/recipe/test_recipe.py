from pathlib import Path

import pytest

from spectral_prep.errors import InputError
from spectral_prep.store.record_file import decoded, plain
from spectral_train.recipe.recipe import Recipe, override, resolve
from spectral_train.recipe.recipes import RECIPES


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

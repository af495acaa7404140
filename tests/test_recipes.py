import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectral_prep.errors import InputError
from spectral_train.recipes import RECIPES, SCHEDULES, Recipe, command_options, named, override, resolve


def test_the_named_recipes_hold_what_the_papers_say() -> None:
    poster, cifar, paper = RECIPES["poster-mnist"], RECIPES["poster-cifar10"], RECIPES["paper-fc"]
    assert (poster.model, dict(poster.model_options)) == ("fc", {"depth": 8, "width": 49})
    assert poster.optimizer in ("adam", "adamw")
    assert (poster.lr, poster.batch_size) == (1e-3, 128)
    assert (cifar.model, cifar.model_options["depth"]) == ("conv", 10)
    assert cifar.optimizer in ("adam", "adamw")
    assert (cifar.lr, cifar.batch_size) == (1e-3, 128)
    assert (paper.model, paper.model_options["depth"]) == ("fc", 8)
    assert (paper.optimizer, paper.lr, paper.batch_size) == ("adam", 0.01, 64)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_recipe_survives_json(name: str) -> None:
    assert Recipe.from_dict(json.loads(json.dumps(RECIPES[name].to_dict()))) == RECIPES[name]


def test_only_what_was_given_is_overridden() -> None:
    changed = override(RECIPES["poster-mnist"], epochs=3, lr=None, seed=0)
    assert changed.epochs == 3
    assert changed.lr == RECIPES["poster-mnist"].lr


def test_another_model_drops_the_options_of_the_former() -> None:
    assert override(RECIPES["poster-cifar10"], model="fc").model_options == {}
    assert override(RECIPES["poster-cifar10"], model="conv").model_options == {"depth": 10, "width": 32}


def test_auto_is_resolved_by_the_shape_of_the_input() -> None:
    assert resolve(Recipe(), (1, 7, 7)).model == "fc"
    assert resolve(Recipe(), (3, 16, 16)).model == "conv"


@given(st.sampled_from(sorted(RECIPES)), st.integers(1, 99), st.sampled_from([1e-4, 0.5]), st.integers(0, 9))
def test_the_options_of_a_recipe_give_it_again(name: str, epochs: int, lr: float, seed: int) -> None:
    recipe = named(name, epochs=epochs, lr=lr, seed=seed)
    words = command_options(recipe).split()
    given = dict(zip(words[::2], words[1::2], strict=True))
    again = named(
        given.get("--recipe", "default"),
        epochs=int(given["--epochs"]) if "--epochs" in given else None,
        lr=float(given["--lr"]) if "--lr" in given else None,
        seed=int(given["--seed"]) if "--seed" in given else None,
    )
    assert again == recipe


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


def test_schedules_begin_at_the_full_rate() -> None:
    assert {schedule(0.0) for schedule in SCHEDULES.values()} == {1.0}
    assert SCHEDULES["cosine"](0.5) == pytest.approx(0.5)
    assert SCHEDULES["cosine"](1.0) == pytest.approx(0)
    assert SCHEDULES["constant"](1.0) == 1

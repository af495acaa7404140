import pytest

from spectral_prep.errors import InputError
from spectral_train.models import MODELS
from spectral_train.recipe.recipes import RECIPES, named


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


def test_an_unknown_recipe_is_refused_with_what_there_is() -> None:
    with pytest.raises(InputError, match="poster-mnist"):
        named("poster-imagenet")

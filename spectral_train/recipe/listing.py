"""What there is to choose from: recipes, models and settings, for a reader and for machines.

Input: which of the three. Output: plain rows, the same for the text and for `--json`. This module does not import
torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spectral_train.models import AUTO, MODELS, TIMM
from spectral_train.recipe.options import text_of
from spectral_train.recipe.recipe import Recipe
from spectral_train.recipe.recipes import RECIPES
from spectral_train.recipe.settings import MODEL_SETTINGS, SETTINGS

Rows = list[dict[str, Any]]


def recipes() -> Rows:
    """Return each recipe by name, with what differs from the default; `auto` is resolved when the data is known."""
    usual = Recipe()
    names = [each.name for each in dataclasses.fields(Recipe) if each.name not in ("name", "model", "model_options")]
    return [
        {
            "recipe": name,
            "model": recipe.model,
            "model options": dict(recipe.model_options),
            **({"all": "the defaults of --list-settings"} if recipe == usual else {}),
            **{each: getattr(recipe, each) for each in names if getattr(recipe, each) != getattr(usual, each)},
        }
        for name, recipe in RECIPES.items()
    ]


def models() -> Rows:
    """Return each model with its options in a branch, and those that differ in the conventional network."""
    return [
        {"model": AUTO, "what": "fc for maps with a side under 8 pixels, else conv", "options": {}, "conventional": {}},
        *(
            {"model": name, "what": model.what, "options": dict(model.branch), "conventional": dict(model.full)}
            for name, model in MODELS.items()
        ),
        {"model": f"{TIMM}NAME", "what": "any network of timm by its name there", "options": {}, "conventional": {}},
    ]


def settings() -> Rows:
    """Return what `--set NAME=VALUE` takes: the fields of a recipe, then the options of models."""
    usual = {each.name: each.default for each in dataclasses.fields(Recipe)}
    return [
        *(
            {"setting": name, "default": usual[name], "values": setting.values, "meaning": setting.meaning}
            for name, setting in SETTINGS.items()
        ),
        *(
            {
                "setting": name,
                "default": {model: each.branch[name] for model, each in MODELS.items() if name in each.branch},
                "values": setting.values,
                "meaning": setting.meaning,
            }
            for name, setting in MODEL_SETTINGS.items()
        ),
    ]


LISTINGS: Mapping[str, Callable[[], Rows]] = {"recipes": recipes, "models": models, "settings": settings}


def listing_text(rows: Rows) -> str:
    """Return rows as lines: the name, then what is said of it.

    >>> print(listing_text([{"model": "fc", "what": "layers", "options": {"depth": 8}, "conventional": {}}]))
    fc  what: layers; options: depth=8
    """
    width = max(len(str(next(iter(row.values())))) for row in rows)
    return "\n".join(f"{name:{width}}  {'; '.join(_said(rest))}" for name, *rest in map(_items, rows))


def _items(row: Mapping[str, Any]) -> Sequence[Any]:
    (_, name), *rest = row.items()
    return (name, *rest)


def _said(rest: Sequence[tuple[str, Any]]) -> list[str]:
    return [f"{key}: {_value(value)}" for key, value in rest if value not in ("", {}, ())]


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={text_of(each)}" for name, each in value.items())
    return text_of(value)

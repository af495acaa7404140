"""Recipes as text: what a user sets on the command line, and the options that give a recipe again.

Input: `NAME=VALUE` texts, or a recipe. Output: fields of a `Recipe`, or options of `spectral-train`. This module does
not import torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from spectral_prep.errors import InputError
from spectral_prep.printable import quoted
from spectral_train.models import MODELS, nearest
from spectral_train.recipe.recipe import Recipe, override
from spectral_train.recipe.recipes import RECIPES
from spectral_train.recipe.settings import LIST_SETTINGS, MODEL_SETTINGS, SETTINGS

SWITCH: Mapping[str, bool] = {"true": True, "false": False}
PRETRAINED = "pretrained"
"""No field of a recipe: it becomes part of the model's name (`models.pretrained`)."""
OPTIONS = ("model", "optimizer", "lr", "batch_size", "epochs", "augment", "seed")
"""What the command line has an option of its own for; the rest goes through `--set`."""


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Return the fields that `NAME=VALUE` texts give a recipe; options of models go into `model_options`.

    Raises
    ------
    InputError
        If there is no such name, or the value is not of its type; the message lists the names.

    >>> parse_settings(["schedule=step", "milestones=0.5,0.75", "channels_last=true", "width=0.25"])
    {'schedule': 'step', 'milestones': (0.5, 0.75), 'channels_last': True, 'model_options': {'width': 0.25}}
    """
    fields = {known.name: known.default for known in dataclasses.fields(Recipe)}
    fields = {name: default for name, default in fields.items() if name not in ("name", "model_options")}
    options = {name for model in MODELS.values() for name in model.branch}
    parsed: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if name == PRETRAINED and equals:
            parsed[name] = text
            continue
        if not equals or name not in {*fields, *options}:
            raise InputError(
                "no such setting",
                expected=f"NAME=VALUE, NAME one of {', '.join(nearest(name, {*fields, *options, PRETRAINED}))}",
                got=setting,
                run=LIST_SETTINGS,
            )
        try:
            if name in fields:
                parsed[name] = _parsed(text, fields[name])
            else:
                parsed.setdefault("model_options", {})[name] = float(text)
        except (ValueError, KeyError) as error:
            values = {**SETTINGS, **MODEL_SETTINGS}[name].values
            raise InputError(f"unusable {name}", expected=values, got=text, run=LIST_SETTINGS) from error
    return parsed


def command_options(recipe: Recipe, without: Collection[str] = ()) -> str:
    """Return the options of `spectral-train` that give this recipe again, but for the settings to leave out.

    >>> from spectral_train.recipe.recipes import named
    >>> command_options(named("poster-mnist", epochs=5, ema=0.99))
    '--recipe poster-mnist --epochs 5 --set ema=0.99'
    >>> command_options(named("poster-mnist", epochs=5, ema=0.99), without=["ema"])
    '--recipe poster-mnist --epochs 5'
    """
    origin = RECIPES.get(recipe.name, Recipe())
    options = [] if recipe.name == Recipe().name or "name" in without else ["--recipe", quoted(recipe.name)]
    for name in OPTIONS:
        if name not in without and getattr(recipe, name) != getattr(origin, name):
            options += [f"--{name.replace('_', '-')}", quoted(str(getattr(recipe, name)))]
    rest = [known.name for known in dataclasses.fields(Recipe) if known.name not in ("name", "model_options", *OPTIONS)]
    changed = {name: getattr(recipe, name) for name in rest if getattr(recipe, name) != getattr(origin, name)}
    usual = override(origin, model=recipe.model).model_options
    changed |= {name: value for name, value in recipe.model_options.items() if usual.get(name) != value}
    told = [f"--set {quoted(f'{name}={text_of(value)}')}" for name, value in changed.items() if name not in without]
    return " ".join([*options, *told])


def _parsed(text: str, default: object) -> object:
    if isinstance(default, bool):
        return SWITCH[text]
    if isinstance(default, tuple):
        return tuple(float(part) for part in text.split(",") if part)
    return type(default)(text)  # type: ignore[call-arg]


def text_of(value: object) -> str:
    """Return a value as `--set` takes it."""
    if isinstance(value, bool):
        return next(text for text, meant in SWITCH.items() if meant is value)
    return ",".join(map(repr, value)) if isinstance(value, tuple) else str(value)

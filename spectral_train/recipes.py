"""How a branch is trained: everything that decides the weights, apart from the shard, in one frozen value.

Goes in: a name of `RECIPES` and the options that the user gave. Comes out: a `Recipe`. The figures of a named recipe
stand here and nowhere else; change them here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import nn

from spectral_prep.errors import InputError
from spectral_prep.request import LARGEST_SEED
from spectral_train.holdout import FRACTION
from spectral_train.models import AUTO, MODELS, InputShape, choose_model

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Recipe:
    """All that is chosen about training one branch.

    Parameters
    ----------
    name
        Of the entry in `RECIPES` that it started from.
    model, model_options
        A name of `MODELS` or `auto` (see `models.choose_model`), and that network's own options.
    optimizer, lr, momentum, weight_decay
        A name of `OPTIMIZERS`; momentum is SGD's alone.
    batch_size, epochs
        Rows a step; passes over the rows that are not held out.
    schedule
        A name of `SCHEDULES`, followed step by step.
    noise
        Deviation of Gaussian noise added to the standardised inputs of training.
    label_smoothing
        Of the training loss, 0 to 1.
    holdout
        Fraction of the training rows that is held out, chosen by `seed`.
    seed
        Of everything random, 0 to 2³²−1.
    precision
        `float32`, or `bfloat16` for autocast; weights stay float32.

    Raises
    ------
    InputError
        If a name or a number is not one of these.
    """

    name: str = "default"
    model: str = AUTO
    model_options: Mapping[str, int] = field(default_factory=dict)
    optimizer: str = "adamw"
    lr: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.1
    batch_size: int = 128
    epochs: int = 40
    schedule: str = "cosine"
    noise: float = 0.1
    label_smoothing: float = 0.0
    holdout: float = FRACTION
    seed: int = 0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        for name, known in (
            ("model", (AUTO, *MODELS)),
            ("optimizer", tuple(OPTIMIZERS)),
            ("schedule", tuple(SCHEDULES)),
            ("precision", get_args(Precision)),
        ):
            if getattr(self, name) not in known:
                raise InputError(f"unknown {name}", expected=f"one of {', '.join(known)}", got=getattr(self, name))
        for name, allowed, expected in (
            ("lr", 0 < self.lr < math.inf, "more than 0"),
            ("momentum", 0 <= self.momentum < 1, "0 to less than 1"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more"),
            ("batch_size", self.batch_size >= 1, "1 or more"),
            ("epochs", self.epochs >= 1, "1 or more"),
            ("noise", 0 <= self.noise < math.inf, "0 or more"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "0 to less than 1"),
            ("holdout", 0 < self.holdout < 1, "more than 0, less than 1"),
            ("seed", 0 <= self.seed <= LARGEST_SEED, f"0 to {LARGEST_SEED}"),
        ):
            if not allowed:
                raise InputError(f"unusable {name}", expected=expected, got=getattr(self, name))

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form that `from_dict` reads."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Recipe:
        """Return the recipe that `to_dict` wrote."""
        return cls(**record)


def _adam(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)


def _sgd(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        model.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=True
    )


def _adamw(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Decay weights alone: biases and norms have one dimension."""
    groups = [
        {"params": [each for each in model.parameters() if (each.ndim > 1) == decays], "weight_decay": decay}
        for decays, decay in ((True, recipe.weight_decay), (False, 0.0))
    ]
    return torch.optim.AdamW(groups, lr=recipe.lr, fused=True)


OPTIMIZERS: Mapping[str, Callable[[nn.Module, Recipe], torch.optim.Optimizer]] = {
    "adam": _adam,
    "adamw": _adamw,
    "sgd": _sgd,
}

SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
}
"""Factor of the learning rate at a progress of 0 (first step) to 1 (after the last)."""

RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(),
        # Poster: Adam 1e-3, batch 128, 8 layers of 49 neurons. It gives neither epochs nor schedule nor noise: ours,
        # chosen on held-out rows.
        Recipe(
            name="poster-mnist",
            model="fc",
            model_options={"depth": 8, "width": 49},
            optimizer="adam",
            weight_decay=0.0,
            noise=0.2,
        ),
        # Poster: Adam 1e-3, batch 128, 10 convolution layers. Channels, epochs, schedule and noise are ours.
        Recipe(
            name="poster-cifar10",
            model="conv",
            model_options={"depth": 10, "width": 32},
            optimizer="adam",
            weight_decay=0.0,
            epochs=20,
        ),
        # Long paper, section 4.2: 8 layers of 28 neurons (MNIST, Q = 28), Adam 0.01, batch 64. Epochs are ours.
        Recipe(
            name="paper-fc",
            model="fc",
            model_options={"depth": 8, "width": 28},
            optimizer="adam",
            lr=0.01,
            batch_size=64,
            schedule="constant",
            weight_decay=0.0,
            noise=0.0,
        ),
    )
}

OPTIONS = ("model", "optimizer", "lr", "batch_size", "epochs", "seed")
"""What the command line lets a user override."""


def named(name: str, **given: Any) -> Recipe:
    """Return a recipe of `RECIPES` with the options that were given.

    >>> named("poster-mnist", epochs=5, lr=None).epochs
    5
    """
    if name not in RECIPES:
        raise InputError("unknown recipe", expected=f"one of {', '.join(RECIPES)}", got=name)
    return override(RECIPES[name], **given)


def override(recipe: Recipe, **given: Any) -> Recipe:
    """Return the recipe with the fields that are not None; another model drops the options of a former named one.

    Raises
    ------
    InputError
        If there is no such field or a value is unusable.
    """
    changes = {key: value for key, value in given.items() if value is not None}
    if unknown := set(changes) - {known.name for known in dataclasses.fields(Recipe)}:
        raise InputError("a recipe has no such field", got=", ".join(sorted(unknown)))
    if recipe.model not in (AUTO, changes.get("model", recipe.model)):
        changes.setdefault("model_options", {})
    return dataclasses.replace(recipe, **changes)


def resolve(recipe: Recipe, input_shape: InputShape) -> Recipe:
    """Return the recipe with `auto` replaced by the network for inputs of this shape (C, h, w)."""
    return override(recipe, model=choose_model(recipe.model, input_shape))


def command_options(recipe: Recipe) -> str:
    """Return the options of `spectral-train` that give this recipe again.

    >>> command_options(named("poster-mnist", epochs=5))
    '--recipe poster-mnist --epochs 5'
    """
    origin = RECIPES.get(recipe.name, Recipe())
    options = [] if recipe.name == Recipe().name else ["--recipe", recipe.name]
    for name in OPTIONS:
        if getattr(recipe, name) != getattr(origin, name):
            options += [f"--{name.replace('_', '-')}", str(getattr(recipe, name))]
    return " ".join(options)
